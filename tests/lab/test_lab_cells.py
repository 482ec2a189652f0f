"""What one cell trains, and in which order cells are trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regraft.contracts.study import STUDIES, Study
from regraft.lab._arms import Gradients, backbone_in, family_of
from regraft.lab._cells import Cell, cells_of, measured, options_of
from regraft.lab._report import signal
from regraft.lab.designs import Widths, googlenet
from regraft.lab.kept import unpacked
from regraft.lab.setting import SMALL, Examples
from studies import TINY, returned

AUXILIARY: Study = STUDIES.get("auxiliary")
POOLING: Study = STUDIES.get("pooling")
WIDTHS = Widths(stem=TINY.width, body=TINY.width)


def cell(arm: str, examples: Examples, folder: Path, seed: int = 0) -> dict[str, Any]:
    one = Cell(arm=arm, size=6, seed=seed)
    found: dict[str, Any] = returned(
        measured(AUXILIARY, one, WIDTHS, TINY, examples, device="cpu", scratch=folder / "scratch")
    )
    return found


def test_a_cell_gives_the_same_row_again_and_leaves_nothing_else(examples: Examples, tmp_path: Path) -> None:
    first, again = (cell("norm", examples, tmp_path) for _ in range(2))
    assert first | {"seconds": 0} == again | {"seconds": 0}
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_row_holds_what_effects_are_made_of(examples: Examples, tmp_path: Path) -> None:
    found = cell("bare, aux", examples, tmp_path)
    assert len(unpacked(found["right"])) == len(examples.test)
    assert examples.others is not None
    assert len(unpacked(found["transfer"])) == len(examples.others.test)
    assert 0 <= found["train_accuracy"] <= 1
    assert list(found["gradients"]) == ["stem", "3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
    assert {len(sizes) for sizes in found["gradients"].values()} == {TINY.steps}


def test_auxiliary_classifiers_reach_the_lower_stages_at_the_first_step_when_the_head_is_still_zero(
    examples: Examples, tmp_path: Path
) -> None:
    without, with_sides = (cell(arm, examples, tmp_path)["gradients"] for arm in ("norm", "norm, aux"))
    assert {sizes[0] for sizes in without.values()} == {0.0}
    reached = {name for name, sizes in with_sides.items() if sizes[0] > 0}
    assert reached == {"stem", "3a", "3b", "4a", "4b", "4c", "4d"}


def test_arms_of_one_design_start_from_the_same_weights_and_other_seeds_from_others(tmp_path: Path) -> None:
    family = family_of(googlenet(), WIDTHS, 32)
    made = [backbone_in(tmp_path / str(at), family, seed) for at, seed in enumerate((0, 0, 1))]
    assert made[0].digest() == made[1].digest() != made[2].digest()
    assert made[0].digest() == backbone_in(tmp_path / "3", family_of(googlenet(), WIDTHS, 32), 0).digest()


def test_gradients_are_noted_as_torch_has_them() -> None:
    noted = Gradients()
    family = family_of(googlenet(), WIDTHS, 32, noted)
    torch.manual_seed(0)
    network = family.build(family.card("")).network
    pixels = torch.randint(256, (2, 32, 32, 3), dtype=torch.uint8)
    expected = []
    for _ in range(2):
        network.views(network.run({"pixels": pixels}))["pooled"].square().sum().backward()
        parameters = list(network.stages["3a"].parameters())
        flat = torch.cat([one.grad.flatten() for one in parameters if one.grad is not None])
        expected.append(float(flat.square().mean().sqrt()))
        for stage in network.stages.values():
            stage.zero_grad(set_to_none=True)
    assert noted.sizes()["3a"] == pytest.approx(expected, rel=1e-5)


def test_the_signal_is_that_of_the_lowest_third_against_the_highest() -> None:
    gradients = {"a": [10.0, 30.0], "b": [1.0], "c": [1.0], "d": [5.0], "e": [0.1], "f": [0.001]}
    assert signal(gradients) == pytest.approx((np.log10(20) + 0) / 2 - (-1 - 3) / 2)


def test_what_the_verdict_rests_on_is_trained_first_seed_by_seed() -> None:
    cells = cells_of(POOLING, SMALL, SMALL.sizes)
    assert [(one.size, one.seed) for one in cells[::3]] == [
        *((size, seed) for seed in range(5) for size in (150, 20)),
        *((50, seed) for seed in range(5)),
    ]
    assert [one.arm for one in cells[:3]] == ["average", "flat", "dense"]
    assert {one.size for one in cells_of(AUXILIARY, SMALL, SMALL.sizes)} == {150}


def test_every_training_size_gets_nearly_the_same_number_of_steps() -> None:
    arm = POOLING.arms[0]
    for size in SMALL.sizes:
        examples = size * SMALL.num_classes
        options = options_of(arm, SMALL, examples)
        assert options.epochs * -(-examples // SMALL.batch) == pytest.approx(SMALL.steps, rel=0.01)
        assert (options.min_steps, options.patience) == (0, 0)


def test_a_larger_draw_of_a_seed_holds_the_smaller_and_no_test_example(examples: Examples) -> None:
    small, large, other = examples.drawn(3, 0), examples.drawn(6, 0), examples.drawn(3, 1)
    assert set(small.tolist()) < set(large.tolist())
    assert set(small.tolist()) != set(other.tolist())
    assert np.bincount(examples.targets[small]).tolist() == [3] * 4
    assert not set(examples.pool.tolist()) & set(examples.test.tolist())
    assert examples.others is not None
    assert not set(examples.others.train.tolist()) & set(examples.pool.tolist())
