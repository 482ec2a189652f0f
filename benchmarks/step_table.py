"""What a training step costs: in float32 and bfloat16, with threads that spin or sleep, alone and on a busy machine.

    .venv/bin/python benchmarks/step_table.py [--only-write]

Every reading is a process of its own; the ways take turns, and ratios are of medians. Writes docs/results/step.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from statistics import median

import torch
from _sets import ROOT

from regraft.backbones._open import open_backbone
from regraft.strategies._half import has_bfloat16

PAGE = ROOT / "docs" / "results" / "step.md"
ROWS = ROOT / "benchmarks" / "rows" / "step.jsonl"
NETWORKS = ("googlenet:bn", "mobilenet_v3_small")
PX, BATCH, CLASSES = 64, 128, 393
ROUNDS, STEPS = 3, 4
THREADS = os.cpu_count() or 1
MOST_SECONDS = 60.0
"""After which a reading ends, with the steps that it has by then."""


def main() -> None:
    """Read, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-write", action="store_true", help="make the page from the rows that are kept")
    parser.add_argument("--reading", nargs=2, metavar=("NETWORK", "HALF"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.reading:
        print(_rate(asked.reading[0], half=asked.reading[1] == "half"))
        return
    if not asked.only_write:
        _read()
    PAGE.write_text(_page([json.loads(line) for line in ROWS.read_text().splitlines()]), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


def _read() -> None:
    cases = list(product(NETWORKS, ("float", "half"), ("ACTIVE", "PASSIVE"), (False, True)))
    print(f"{len(cases) * ROUNDS} readings, about {len(cases) * ROUNDS * 20 / 60:.0f} minutes.")
    rows = []
    for turn, (network, half, policy, busy) in product(range(ROUNDS), cases):
        with _company() if busy else _nobody():
            found = subprocess.run(
                [sys.executable, __file__, "--reading", network, half],
                env={**os.environ, "OMP_WAIT_POLICY": policy, "OMP_NUM_THREADS": str(THREADS)},
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        rows.append({"network": network, "half": half == "half", "policy": policy, "busy": busy, "turn": turn,
                     "rate": float(found.stdout.split()[-1]), "threads": THREADS})  # fmt: skip
        print(rows[-1])
    ROWS.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _rate(spec: str, *, half: bool) -> float:
    """Inputs per second of a training step of the whole network, the first step left out."""
    torch.set_num_threads(THREADS)
    opening = open_backbone(f"{spec}@random", input_px=PX)
    while True:
        try:
            next(opening)
        except StopIteration as stop:
            backbone = stop.value
            break
    network = backbone.fresh_network()
    head = torch.nn.Linear(backbone.card.width, CLASSES)
    stages = torch.nn.ModuleList(network.stages.values()).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW([*stages.parameters(), *head.parameters()], fused=True)
    hidden = torch.randn(BATCH, 3, PX, PX).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(CLASSES, (BATCH,))
    seconds, began = list[float](), time.monotonic()
    while len(seconds) <= STEPS and time.monotonic() - began < MOST_SECONDS:
        start = time.monotonic()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            state = {"hidden": hidden}
            for stage in stages:
                state = stage(state)
            logits = head(network.views(state)["pooled"])
            loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        seconds.append(time.monotonic() - start)
    return BATCH / median(seconds[1:] or seconds)


@contextmanager
def _company() -> Iterator[None]:
    """A process that keeps one core busy."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


@contextmanager
def _nobody() -> Iterator[None]:
    yield


def _page(rows: list[dict[str, object]]) -> str:
    def rate(**wanted: object) -> float:
        return median(float(str(row["rate"])) for row in rows if all(row[name] == wanted[name] for name in wanted))

    none = "" if has_bfloat16(torch.device("cpu")) else "no "
    lines = [
        "# What a training step costs",
        "",
        f"""Inputs per second of a training step (forward, backward, AdamW) at {PX} pixels, batches of {BATCH},
{rows[0]["threads"]} threads on as many cores; medians of {ROUNDS} turns of {STEPS} steps. *Busy*: another process keeps
one core busy all the time. *Spin* and *sleep*: OMP_WAIT_POLICY is ACTIVE or PASSIVE; the command line asks for the
latter unless the variable is set. This processor has {none}instructions for bfloat16 (`options.half`). Made by
`python benchmarks/step_table.py`.""",
        "",
        "| network | numbers | alone, spin | alone, sleep | busy, spin | busy, sleep | sleep / spin alone | and busy |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for network, half in product(NETWORKS, (False, True)):
        rates = {
            (busy, policy): rate(network=network, half=half, busy=busy, policy=policy)
            for busy in (False, True)
            for policy in ("ACTIVE", "PASSIVE")
        }
        told = " | ".join(f"{one:.0f}" for one in rates.values())
        ratios = [rates[busy, "PASSIVE"] / rates[busy, "ACTIVE"] for busy in (False, True)]
        lines.append(
            f"| {network} | {'bfloat16' if half else 'float32'} | {told} | {ratios[0]:.2f} | {ratios[1]:.2f} |"
        )
    gains = []
    for network in NETWORKS:
        half, whole = (rate(network=network, half=one, busy=False, policy="PASSIVE") for one in (True, False))
        gains.append(f"{network} {half / whole:.2f}")
    return "\n".join([*lines, "", f"bfloat16 over float32, alone and asleep: {', '.join(gains)}.", ""])


if __name__ == "__main__":
    main()
