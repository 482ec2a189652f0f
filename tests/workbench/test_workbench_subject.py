"""How examples become prepared inputs, and what names them."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
from PIL import Image

from regraft.backbones._channels import adapted_card
from regraft.backbones.backbone import BACKBONES
from regraft.recipe import Recipe
from regraft.values import Event
from regraft.workbench._subject import Subject, inputs_of, open_subject


def subject_of(path: Path) -> Subject:
    opening: Generator[Event, None, Subject] = open_subject(Recipe(data=str(path)), workers=1)
    while True:
        try:
            next(opening)
        except StopIteration as stop:
            return stop.value


def test_inputs_of_other_channels_are_others_and_have_another_key(tmp_path: Path) -> None:
    for at in range(8):
        path = tmp_path / ("a", "b")[at % 2] / f"{at}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(at).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    subject = subject_of(tmp_path)
    card = BACKBONES.get("googlenet").card("bn").with_input(32)
    made = {
        one.channels: inputs_of(
            subject.dataset, subject.scanned, one.preparation, one.channels, Recipe(data=str(tmp_path)), workers=1
        )
        for one in (adapted_card(card, 1), card, adapted_card(card, 4))
    }
    assert len({str(inputs.fields) for inputs in made.values()}) == 3
    for channels, inputs in made.items():
        for number in (0, 1):
            assert inputs.load(0, number, 0)[0]["pixels"].shape == (32, 32, channels)
