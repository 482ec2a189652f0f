"""What a row may be beside arrays of one shape: it has a place in its example."""

from pathlib import Path

import numpy as np
import pytest

from activations.filling import AT_CUT, AT_TOP, NUM, Source, activations, drain
from regraft.activations.slots import Slot
from regraft.backbones.backbone import Backbone
from toy_backbone import toy_backbone, toy_input

BOX = Slot(name="box", shape=(4,), dtype="float32")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return toy_backbone(tmp_path_factory.mktemp("toy"))


def box(example: int, number: int) -> dict[str, np.ndarray]:
    return {"box": np.array([example, number, example + number, 1], np.float32)}


def test_placements_are_kept_with_their_rows_and_are_no_part_of_the_state(backbone: Backbone, tmp_path: Path) -> None:
    examples, views = np.array([5, 0, 36]), np.array([1, 0, 1])
    expected = np.stack([box(*pair)["box"] for pair in zip(examples, views, strict=True)])
    plain = activations(backbone, tmp_path / "plain")
    drain(plain.fill([AT_CUT], range(NUM)))
    wanted = plain.states(AT_CUT, NUM, range(NUM)).batch(examples, views)
    assert plain.states(AT_CUT, NUM, range(NUM)).placements(examples, views) == {}
    plain.close()
    for source in (Source(toy_input, box), Source(toy_input, box)):
        made = activations(backbone, tmp_path / "placed", source, placement=[BOX])
        drain(made.fill([AT_CUT, AT_TOP], range(NUM)))
        states = made.states(AT_CUT, NUM, range(NUM))
        found = states.batch(examples, views)
        assert set(found) == set(wanted)
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
        np.testing.assert_array_equal(states.placements(examples, views)["box"], expected)
        top = made.states(AT_TOP, NUM, range(NUM)).placements(examples, np.zeros(3, int))
        np.testing.assert_array_equal(top["box"], np.stack([box(example, 0)["box"] for example in examples]))
        made.close()
    assert source.asked == [], "the second time they come from the store"


def test_fresh_states_have_placements_that_cost_no_second_loading(backbone: Backbone, tmp_path: Path) -> None:
    source = Source(toy_input, box)
    made = activations(backbone, tmp_path, source, placement=[BOX])
    states, examples, views = made.fresh("input"), np.array([3, 1]), np.array([7, 2])
    states.batch(examples, views)
    np.testing.assert_array_equal(states.placements(examples, views)["box"], [[3, 7, 10, 1], [1, 2, 3, 1]])
    assert len(source.asked) == 2
    np.testing.assert_array_equal(states.placements(np.array([4]), np.array([0]))["box"], [[4, 0, 4, 1]])
    made.close()
