"""Networks measured in turn."""

from pathlib import Path

import pytest
import torch

from networks import FAMILIES
from regraft.activations.openvino import processor
from regraft.backbones.costs import Whole
from regraft.errors import BadRequest
from regraft.values import Progress
from regraft.workbench import _speed
from regraft.workbench._speed import Speed, Timing, measured
from regraft.workbench.describe import SideBySide, side_by_side, timing_of

TIMING = Timing(batch=2, rounds=3, threads=1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call is timed, however short."""
    monkeypatch.setattr(_speed, "MINIMUM_S", 0.0)


def test_ratios_are_taken_round_by_round_and_the_median_is_told() -> None:
    """The machine slows down from round to round; the ratio does not."""
    first = Speed(running=(100.0, 50.0, 10.0), training=(10.0, 5.0, 1.0))
    other = Speed(running=(50.0, 25.0, 6.0), training=(40.0, 20.0, 4.0))
    assert first.to_json(first)["running"]["ratio"] == 1.0
    said = other.to_json(first)
    assert said["running"] == {"per_second": 25.0, "rounds": [50.0, 25.0, 6.0], "ratio": 0.5}
    assert said["training"]["ratio"] == 4.0


def test_every_network_is_measured_once_a_round_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def once(family: object, card: object, timing: Timing) -> tuple[float, float]:
        asked.append(card.variant)  # type: ignore[attr-defined]
        return float(len(asked)), 1.0

    monkeypatch.setattr(_speed, "_once", once)
    family, told = FAMILIES["googlenet"], []
    measuring = measured([(family, family.card(variant)) for variant in ("tiny", "half")], TIMING)
    with pytest.raises(StopIteration) as ended:
        while True:
            told.append(next(measuring))
    assert asked == ["tiny", "half"] * 3
    assert [speed.running for speed in ended.value.value] == [(1.0, 3.0, 5.0), (2.0, 4.0, 6.0)]
    steps = [event for event in told if isinstance(event, Progress)]
    assert [step.done for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1].seconds_left == 0.0


def test_a_network_really_runs_and_trains_and_nothing_else_is_moved() -> None:
    torch.manual_seed(3)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    *_, last = side_by_side(["googlenet:tiny", "resnet18"], input_px=32, timing=TIMING)
    assert isinstance(last, SideBySide)
    said = last.to_json()
    assert [one["name"] for one in said["networks"]] == ["googlenet:tiny", "resnet18:torchvision"]
    for one in said["networks"]:
        assert len(one["speed"]["running"]["rounds"]) == 3
        assert len(one["speed"]["training"]["rounds"]) == 3
        assert min(one["speed"]["running"]["rounds"] + one["speed"]["training"]["rounds"]) > 0
    name, units = processor()
    asked = {"batch": 2, "rounds": 3, "threads": 1, "device": "cpu"}
    assert said["timing"] == {**asked, "processor": name, "units": units}
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_training_step_moves_every_parameter() -> None:
    family = FAMILIES["googlenet"]
    torch.manual_seed(0)
    whole = Whole(family.build(family.card("tiny").with_input(32)).network)
    before = {name: tensor.clone() for name, tensor in whole.named_parameters()}
    inputs = {"pixels": torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)}
    _speed._step(whole, inputs, torch.tensor([0, 1]))()
    assert [name for name, tensor in whole.named_parameters() if tensor.grad is None] == []
    assert any(not torch.equal(tensor, before[name]) for name, tensor in whole.named_parameters())


def test_the_units_of_the_processor_are_those_that_linux_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = "processor : 0\nmodel name : A Chip\nflags : fpu avx512_bf16 avx512_vnni\n\n"
    told = core + core.replace("0", "1", 1)
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr("regraft.activations.openvino.Path", lambda _: tmp_path / "cpuinfo")
    assert processor() == ("A Chip", ["AVX512-BF16", "AVX512-VNNI"])
    (tmp_path / "cpuinfo").unlink()
    assert processor()[1] == []


def test_without_timing_nothing_is_measured() -> None:
    (last,) = side_by_side(["googlenet:tiny"], input_px=32)
    assert isinstance(last, SideBySide)
    assert last.to_json()["timing"] is None
    assert last.to_json()["networks"][0]["speed"] is None


@pytest.mark.parametrize(("name", "number"), [("batch", 1), ("rounds", 0), ("threads", 0)])
def test_numbers_out_of_range_are_refused(name: str, number: int) -> None:
    with pytest.raises(BadRequest, match=f"{name} is {number}"):
        Timing(**{name: number})


def test_threads_and_device_are_the_machines_own_unless_named() -> None:
    assert timing_of(batch=4, rounds=2, threads=3, device="cpu") == Timing(batch=4, rounds=2, threads=3, device="cpu")
    assert timing_of(batch=4, rounds=2, threads=0, device="cpu").threads >= 1
    with pytest.raises(BadRequest, match="is not available on this machine"):
        timing_of(batch=4, rounds=2, threads=0, device="abacus")
