"""What a sweep saves: four recipes, three seeds, in one sweep against each run alone from an empty store.

CPU seconds of the commands, children included, so that other work on the machine moves the ratio little.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from _sets import SETS

from regraft.activations.openvino import processor

STRATEGIES = ("probe", "partial@5a", "partial@4e", "lp_ft@4e")
SHARED = ("options.epochs=10", "options.min_steps=0", "options.patience=0", "views=4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="hymenoptera", choices=sorted(SETS), help="the data set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default="googlenet")
    parser.add_argument("--page", type=Path, help="where the page is written")
    given = parser.parse_args()
    chosen = SETS[given.set]
    data, settings = str(chosen.open()), [*chosen.settings, *SHARED]
    sweep = ["sweep", data, "--backbones", given.backbone, "--strategies", ",".join(STRATEGIES)]
    together = cpu_seconds([*sweep, "--seeds", str(given.seeds)], settings)
    print(f"sweep: {together:.0f} CPU seconds", flush=True)
    alone: dict[str, list[float]] = {}
    for strategy in STRATEGIES:
        name, _, cut = strategy.partition("@")
        for seed in range(given.seeds):
            command = ["fit", data, "--backbone", given.backbone, "--strategy", name, "--seed", str(seed)]
            # Options of training are refused by what has none.
            own = settings if name != "probe" else [one for one in settings if "options" not in one]
            alone.setdefault(strategy, []).append(cpu_seconds(command + (["--cut", cut] if cut else []), own))
            print(f"{strategy}, seed {seed}: {alone[strategy][-1]:.0f} CPU seconds", flush=True)
    text = page(given.set, given.backbone, given.seeds, together, alone)
    print(text)
    if given.page:
        given.page.write_text(text, encoding="utf-8")


def cpu_seconds(command: list[str], settings: list[str]) -> float:
    """CPU seconds of a command with an empty store."""
    with TemporaryDirectory() as folder:
        env = os.environ | {"REGRAFT_CACHE": str(Path(folder) / "cache")}
        options = [part for one in settings for part in ("--set", one)]
        before = os.times()
        subprocess.run(
            [sys.executable, "-m", "regraft", *command, *options, "--out", str(Path(folder) / "out"), "-q"],
            check=True, env=env, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system


def page(name: str, backbone: str, seeds: int, together: float, alone: dict[str, list[float]]) -> str:
    """The result as Markdown."""
    whole = sum(map(sum, alone.values()))
    rows = "\n".join(f"| `{one}` | {' '.join(f'{each:.0f}' for each in many)} |" for one, many in alone.items())
    return f"""# What a sweep saves

Made by `python benchmarks/sweep_ratio.py` on {time.strftime("%Y-%m-%d")}: {name}, {backbone}, four recipes,
{seeds} seeds, four stored views, ten epochs, no early stopping.

**{whole / together:.2f} times**: {whole:.0f} CPU seconds for {sum(map(len, alone.values()))} runs alone, each from an
empty store, against {together:.0f} for one sweep. Splits, views and activations are shared, one pass fills all cuts,
and what is solved to its optimum is solved once.

| alone | CPU seconds by seed |
| --- | --- |
{rows}

Machine: {processor()[0]}, {os.cpu_count()} cores, {platform.system()}.
"""


if __name__ == "__main__":
    main()
