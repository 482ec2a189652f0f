"""The strategies of the tables of transfer by name: a preset, and further options of `regraft fit`."""

PARTIAL = ("--strategy", "partial")
FULL = ("--strategy", "full")
ARGUMENTS: dict[str, tuple[str, ...]] = {
    **{name: ("--strategy", name) for name in ("probe", "partial", "gradual", "lora", "full", "lp_ft", "scratch")},
    **{f"partial, views {count}": (*PARTIAL, "--views", str(count)) for count in (1, 2, 8)},
    "partial, new views": (*PARTIAL, "--views", "0"),
    "partial, l2_sp": (*PARTIAL, "--set", "options.regulariser=l2_sp"),
    "partial, strong": (*PARTIAL, "--augmentation", "strong"),
    "partial, mixup": (*PARTIAL, "--set", "options.mixup=0.2"),
    "partial, strong, mixup": (*PARTIAL, "--augmentation", "strong", "--set", "options.mixup=0.2"),
    **{f"full, {name}": (*FULL, "--set", f"options.regulariser={name}")
       for name in ("co_tuning", "delta", "bss", "l2_sp")},
}  # fmt: skip
GUESS_S = {"probe": 3.0, "partial": 16.0, "gradual": 16.0, "lora": 18.0, "full": 45.0, "lp_ft": 48.0, "scratch": 75.0}
"""Wall seconds of a run of a preset at 64 pixels on a core of its own, before one was timed."""


def preset(way: str) -> str:
    """The preset that a way is a variant of."""
    return way.partition(",")[0]
