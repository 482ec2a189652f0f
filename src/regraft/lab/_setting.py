"""How large a study is: classes, examples, network, training."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all arms of a study share."""

    name: str
    """What the command calls it."""
    num_classes: int
    """Classes to tell apart, at most."""
    num_others: int
    """Classes that are never trained on, for probes of the features; at most half of all there are."""
    sizes: tuple[int, ...]
    """Training examples of a class, falling; at most as many as there are."""
    test_per_class: int
    """Test examples of a class, at most; data that come undivided are divided in proportion."""
    input_px: int
    """Side of the square input in pixels."""
    width: float
    """Width of the first arm, relative to the published network."""
    steps: int
    """Steps of the optimiser, to the nearest whole epoch: the same for every arm, nearly so for every training size."""
    batch: int
    """Examples of a step, at most."""
    lr: float = 1e-3
    """Peak learning rate; that of the preset `scratch`."""
    seeds: int = 5
    """How often everything that is drawn is drawn anew."""
    half: bool = False
    """Whether training computes in bfloat16 where the machine has instructions for it."""


SMALL = Setting(
    name="small", num_classes=20, num_others=10, sizes=(150, 50, 20), test_per_class=100, input_px=64, width=0.5,
    steps=1130, batch=16,
)  # fmt: skip
"""For two cores: about a minute for most cells."""
LONG = replace(SMALL, name="long", steps=1700, batch=64, half=True, seeds=3)
"""The small one, shown six times the examples in larger batches, so that arms that learn slowly get further. For two
cores in the background: two or three minutes for most cells."""
FULL = Setting(
    name="full", num_classes=150, num_others=40, sizes=(150, 50, 20), test_per_class=100, input_px=64, width=1.0,
    steps=6000, batch=128, half=True,
)  # fmt: skip
"""For a GPU."""
SETTINGS = {one.name: one for one in (SMALL, LONG, FULL)}
"""All of them by name."""
