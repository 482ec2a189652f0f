"""The loop: what it keeps, when it stops, what it says when numbers run away."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from problems import Changed, drained, fitted, in_folder, losses, problem, same, ways
from regraft.backbones.backbone import Backbone
from regraft.contracts.strategy import Problem
from regraft.errors import RunError, TrainingFailed
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune, probe
from regraft.strategies._checkpoint import CRITERION, Checkpoint, History
from regraft.strategies.tail import Tail
from regraft.tasks.losses import fit_temperature
from regraft.values import Event, Notice, Plan, Progress

WAY = next(way for way in ways() if way.name == "finetune")
QUICK = {"epochs": 3, "min_steps": 0, "batch": 9}


def progress(events: list[Event]) -> list[Progress]:
    return [event for event in events if isinstance(event, Progress)]


def test_the_plan_of_training_comes_from_the_steps_after_the_first_ones_and_counts_validation() -> None:
    history = History(epochs=5, validated=0.3)
    assert [type(one) for one in history.progress(1, 10, 5.0)] == [Progress]
    plan, told = history.progress(3, 10, 7.0)
    assert isinstance(plan, Plan)
    assert (plan.phase, plan.seconds) == ("training", pytest.approx(7 + 1.1 * 47))
    assert isinstance(told, Progress)
    assert [type(one) for one in history.progress(4, 10, 8.0)] == [Progress], "it is said once"


def flipping(asked: Problem) -> Problem:
    """The same problem with wrong validation targets, so that learning raises the validation loss."""
    targets = asked.targets.copy()
    targets[asked.val] = (targets[asked.val] + 1) % 3
    return replace(asked, targets=targets)


def test_a_huge_learning_rate_ends_with_what_to_do(tiny: Backbone) -> None:
    options = finetune.Options(**QUICK, lr=1e30, clip_norm=0.0, warmup_share=0.0)
    with pytest.raises(TrainingFailed, match=r"(training loss became|is not finite).*\n.*lower the learning rate"):
        fitted(WAY, problem(tiny, "5a"), options)


def test_infinite_activations_are_named_by_example(tiny: Backbone) -> None:
    asked = problem(tiny, "5a")
    asked = replace(asked, states=Changed(asked.states, (4, 11), float("inf")))
    with pytest.raises(TrainingFailed, match=r"cut '5a' are not finite for .* position .*(4|11).*\n.*dtype=float32"):
        fitted(WAY, asked, finetune.Options(**QUICK))


def test_a_validation_loss_that_is_not_finite_ends_it(tiny: Backbone) -> None:
    asked = problem(tiny, "5a", val=6)
    asked = replace(asked, states=Changed(asked.states, (int(asked.val[0]),), float("nan")))
    with pytest.raises(TrainingFailed, match="validation loss became nan in epoch 1"):
        fitted(WAY, asked, finetune.Options(**QUICK))


def test_the_best_epochs_weights_are_kept_and_patience_ends_it(tiny: Backbone) -> None:
    asked = flipping(problem(tiny, "5a", examples=36, val=6))
    model = fitted(WAY, asked, finetune.Options(**{**QUICK, "epochs": 50}, lr=1e-3, patience=3))
    curve = [record[CRITERION] for record in model.curve]
    best = int(np.argmin(curve)) + 1
    assert model.facts["stopped_by"] == "patience"
    assert len(curve) == best + 3 < 50
    assert model.facts["best_epoch"] == best
    logits = model.logits(asked, asked.val)
    logits = torch.from_numpy(logits / fit_temperature(logits, asked.targets[asked.val]))
    found = torch.nn.functional.cross_entropy(logits, torch.from_numpy(asked.targets[asked.val]))
    assert float(found) == pytest.approx(curve[best - 1], rel=1e-5)


def test_a_probe_that_no_epoch_improves_on_is_kept_and_said_so(tiny: Backbone) -> None:
    asked = problem(tiny, "5a", examples=36, val=6)
    options = finetune.Options(**{**QUICK, "epochs": 2}, lr=10.0, init="probe")
    events, model = drained(WAY.module.fit(asked, options))
    assert model.facts["best_epoch"] == 0
    assert model.facts["start"][CRITERION] < min(record[CRITERION] for record in model.curve)
    assert any("probe that training started from" in event.text for event in events if isinstance(event, Notice))
    untouched = drained(probe.fit(replace(asked, cut="output", states=asked.top), probe.Options()))[1]
    np.testing.assert_allclose(model.logits(asked, asked.val), untouched.logits(asked, asked.val), atol=1e-4)


def test_without_patience_every_epoch_is_run_and_the_best_still_kept(tiny: Backbone) -> None:
    asked = flipping(problem(tiny, "5a", examples=24, val=6))
    model = fitted(WAY, asked, finetune.Options(**{**QUICK, "epochs": 6}, lr=1e-2, patience=0))
    assert (len(model.curve), model.facts["stopped_by"]) == (6, "finished")
    assert model.facts["best_epoch"] < 6


def test_the_curve_tells_validation_scores_by_the_tasks_names(tiny: Backbone) -> None:
    asked = problem(tiny, "5a", examples=24, val=6)
    events, model = drained(WAY.module.fit(asked, finetune.Options(**QUICK)))
    names = {"epoch", "loss", "learning_rate_factor", "val_loss", CRITERION, "val_accuracy", "seconds"}
    assert set(model.curve[0]) == names
    last = progress(events)[-1]
    assert set(last.facts) == {"loss", "val_loss", "val_accuracy"}
    assert (last.done, last.seconds_left) == (last.total, 0.0)
    predicted = model.logits(asked, asked.val).argmax(axis=1)
    accuracy = float((predicted == asked.targets[asked.val]).mean())
    assert model.curve[model.facts["best_epoch"] - 1]["val_accuracy"] == pytest.approx(accuracy)


@pytest.mark.usefixtures("every_epoch")
def test_progress_comes_inside_epochs_and_counts_steps(tiny: Backbone) -> None:
    events, _ = drained(WAY.module.fit(problem(tiny, "5a", examples=27), finetune.Options(**QUICK)))
    assert [event.done for event in progress(events)] == list(range(1, 10))
    assert [bool(event.facts) for event in progress(events)] == [False, False, True] * 3
    assert all(event.total == 9 and (event.seconds_left or 0.0) >= 0 for event in progress(events))


class Allocator:
    """What glibc would be asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        self.asked.append((str(parameter), value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.asked.append(("trim", pad))
        return 1


def test_training_keeps_freed_memory_and_gives_it_back_at_the_end(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-1 and -3 are M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in glibc's malloc.h."""
    libc = Allocator()
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: libc)
    fitted(WAY, problem(tiny, "5a"), finetune.Options(**QUICK))
    assert libc.asked == [("-3", 1 << 30), ("-1", 1 << 30), ("trim", 0)]
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    fitted(WAY, problem(tiny, "5a"), finetune.Options(**QUICK))
    assert len(libc.asked) == 3, "what the user has set stays"


def test_a_time_limit_gives_at_least_one_epoch_and_says_that_it_shortened_the_plan(tiny: Backbone) -> None:
    asked = replace(problem(tiny, "5a"), max_seconds=1e-6)
    events, model = drained(WAY.module.fit(asked, finetune.Options(**QUICK)))
    assert len(model.curve) == 1
    assert [event.topic for event in events if isinstance(event, Notice)] == ["time"]
    assert np.isfinite(model.logits(asked, asked.train)).all()


def test_a_time_limit_that_holds_everything_changes_nothing(tiny: Backbone) -> None:
    asked, options = problem(tiny, "5a"), finetune.Options(**QUICK)
    assert same(fitted(WAY, asked, options), fitted(WAY, replace(asked, max_seconds=1e6), options))


def test_a_time_limit_is_kept(tiny: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def tick() -> float:
        clock[0] += 1.0
        return clock[0]

    monkeypatch.setattr("regraft.strategies.loop.time.monotonic", tick)
    asked = replace(problem(tiny, "5a", examples=27), max_seconds=100.0)
    model = fitted(WAY, asked, finetune.Options(**{**QUICK, "epochs": 1000}))
    spent = sum(record["seconds"] for record in model.curve)
    assert 50 < spent <= 100
    assert model.facts["epochs_planned"] < 1000
    assert model.curve[-1]["learning_rate_factor"] < 0.2


@pytest.mark.usefixtures("every_epoch")
def test_closing_the_generator_ends_its_thread_and_writes_nothing_half(tiny: Backbone, tmp_path: Path) -> None:
    threads = threading.active_count()
    events = WAY.module.fit(in_folder(problem(tiny, "5a"), tmp_path), finetune.Options(**QUICK))
    next(events)
    assert threading.active_count() > threads
    events.close()
    assert threading.active_count() == threads
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_short_epochs_share_a_checkpoint_and_the_last_is_always_kept(tiny: Backbone, tmp_path: Path) -> None:
    asked, options = in_folder(problem(tiny, "5a", examples=18, val=6), tmp_path), finetune.Options(**QUICK)
    events = WAY.module.fit(asked, options)
    next(event for event in events if isinstance(event, Progress))
    assert not list(tmp_path.iterdir())
    _, model = drained(events)
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        assert len(json.loads(file.metadata()["facts"])["curve"]) == 3
    again_events, again = drained(WAY.module.fit(asked, options))
    assert not progress(again_events)
    assert losses(again) == losses(model)
    assert same(again, model)


def test_a_checkpoint_brings_back_every_tensor_of_tail_and_optimiser(tiny: Backbone, tmp_path: Path) -> None:
    def made() -> tuple[Tail, torch.optim.Optimizer]:
        tail = Tail(tiny.fresh_network(), "5a", PooledHead(256, 3), "pooled", batch_norm="train")
        tail.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return tail, torch.optim.AdamW(tail.parameters(), lr=0.1, fused=True)

    tail, optimiser = made()
    asked = problem(tiny, "5a", examples=6)
    state = {name: torch.from_numpy(array) for name, array in asked.states.batch(asked.train, 0 * asked.train).items()}
    tail.train()(state).square().sum().backward()
    optimiser.step()
    history = History(
        epochs=5, curve=[{"loss": 1.0, "seconds": 2.0}], seconds=3.5, facts={"a": [1]}, best=tail.tensors()
    )
    Checkpoint(tmp_path, "me").keep(tail, optimiser, history, last=True)
    other, other_optimiser = made()
    back = Checkpoint(tmp_path, "me").load(other, other_optimiser)
    assert back is not None
    assert (back.epochs, back.curve, back.seconds, back.facts) == (5, history.curve, 3.5, {"a": [1]})
    assert all(torch.equal(back.best[name], tensor) for name, tensor in tail.tensors().items())
    assert all(torch.equal(t, other.state_dict()[name]) for name, t in tail.state_dict().items())
    for one, two in zip(tail.parameters(), other.parameters(), strict=True):
        assert optimiser.state[one].keys() == other_optimiser.state[two].keys()
        for name, tensor in optimiser.state[one].items():
            assert torch.equal(tensor, other_optimiser.state[two][name])
            assert tensor.stride() == other_optimiser.state[two][name].stride()


def test_a_damaged_checkpoint_is_named(tiny: Backbone, tmp_path: Path) -> None:
    asked, options = in_folder(problem(tiny, "5a", examples=9), tmp_path), finetune.Options(**QUICK)
    fitted(WAY, asked, options)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"checkpoint\.safetensors cannot be read .*\n.*delete it"):
        fitted(WAY, asked, options)
