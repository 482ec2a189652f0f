"""How examples become records, and what names them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.backbones.backbone import BACKBONES
from regraft.backbones.channels import adapted_card
from regraft.backbones.opening import open_backbone
from regraft.errors import BadData
from regraft.recipe import Recipe
from regraft.values import drained
from regraft.workbench.recipes import suited
from regraft.workbench.session import open_session


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for at in range(8):
        path = tmp_path / ("a", "b")[at % 2] / f"{at}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(at).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    return tmp_path


def test_inputs_of_other_channels_are_others_and_have_another_key(images: Path) -> None:
    session = drained(open_session(Recipe(data=str(images)), workers=1))
    card = BACKBONES.get("googlenet").card("bn").with_input(32)
    made = {one.channels: session.inputs(one, 1) for one in (adapted_card(card, 1), card, adapted_card(card, 4))}
    assert len({str(inputs.fields) for inputs in made.values()}) == 3
    for channels, inputs in made.items():
        for number in (0, 1):
            assert inputs.load(0, number, 0)[0]["pixels"].shape == (32, 32, channels)


def test_a_network_for_another_kind_of_data_is_refused(images: Path) -> None:
    recipe = Recipe(data=str(images))
    session = drained(open_session(recipe, workers=1))
    with pytest.raises(BadData, match=r"contains images, but .* takes table data"):
        suited(recipe, session.dataset, drained(open_backbone("columns@random")))
