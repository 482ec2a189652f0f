"""What a training step costs: in float32 and bfloat16, with waiting threads that spin or sleep, on an idle and on a
busy machine.

    .venv/bin/python benchmarks/step_table.py [--only-write]

Every measurement is a separate process; configurations are interleaved, and ratios are of medians. Resumable:
measurements are kept.
Writes docs/results/step.md.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import product
from statistics import median

import torch
from _kept import FOLDER, Kept, Row
from _problems import network
from _sets import ROOT

from regraft.files import write_text
from regraft.strategies._steps import has_bfloat16

PAGE = ROOT / "docs" / "results" / "step.md"
NETWORKS = ("googlenet:bn", "mobilenet_v3_small")
PX, BATCH, CLASSES = 64, 128, 393
ROUNDS, STEPS = 3, 4
THREADS = os.cpu_count() or 1
GUESS_S = 10.0
"""Seconds of a reading."""
MOST_SECONDS = 30.0
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
    kept = Kept(FOLDER / "step.jsonl")
    if not asked.only_write:
        _read(kept)
    write_text(PAGE, _page(kept.rows))
    print(PAGE.relative_to(ROOT))


def _read(kept: Kept) -> None:
    """Take the readings that are missing, every way in turn."""
    ways = product(range(ROUNDS), NETWORKS, (False, True), ("ACTIVE", "PASSIVE"), (False, True))
    keys = [dict(zip(("turn", "network", "half", "policy", "busy"), way, strict=True)) for way in ways]
    todo = [key for key in keys if not kept.where(**key)]
    print(f"{len(todo)} readings, about {len(todo) * GUESS_S / 60:.0f} minutes.")
    for key in todo:
        with _company() if key["busy"] else nullcontext():
            found = subprocess.run(
                [sys.executable, __file__, "--reading", str(key["network"]), "half" if key["half"] else "float"],
                env={**os.environ, "OMP_WAIT_POLICY": str(key["policy"]), "OMP_NUM_THREADS": str(THREADS)},
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        made_with = {"threads": THREADS, "bfloat16": has_bfloat16(torch.device("cpu"))}
        kept.add({**key, "rate": float(found.stdout.split()[-1]), **made_with})
        print(kept.rows[-1])


def _rate(spec: str, *, half: bool) -> float:
    """Inputs per second of a training step of the whole network, the first step left out."""
    torch.set_num_threads(THREADS)
    backbone = network(f"{spec}@random", input_px=PX)
    opened = backbone.fresh_network()
    head = torch.nn.Linear(backbone.card.width, CLASSES)
    stages = torch.nn.ModuleList(opened.stages.values()).to(memory_format=torch.channels_last)
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
            logits = head(opened.readouts(state)["pooled"])
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


def _page(rows: Sequence[Row]) -> str:
    def rate(**wanted: object) -> float:
        return median(row["rate"] for row in rows if all(row[name] == wanted[name] for name in wanted))

    none = "" if rows[0]["bfloat16"] else "no "
    lines = [
        "# What a training step costs",
        "",
        f"""Inputs per second of a training step (forward, backward, AdamW) at {PX} pixels, batch size {BATCH},
{rows[0]["threads"]} threads on as many cores; medians of {ROUNDS} rounds of {STEPS} steps. *Busy*: another process
keeps one core fully loaded. *Active* and *passive*: the value of OMP_WAIT_POLICY (waiting threads spin or sleep).
*Ratio*: passive divided by active. This processor has {none}native
bfloat16 instructions. Generated by `python benchmarks/step_table.py`.""",
        "",
        "| network | dtype | idle, active | idle, passive | busy, active | busy, passive | ratio, idle | ratio, busy |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, half in product(NETWORKS, (False, True)):
        rates = {
            (busy, policy): rate(network=name, half=half, busy=busy, policy=policy)
            for busy in (False, True)
            for policy in ("ACTIVE", "PASSIVE")
        }
        told = " | ".join(f"{one:.0f}" for one in rates.values())
        ratios = [rates[busy, "PASSIVE"] / rates[busy, "ACTIVE"] for busy in (False, True)]
        lines.append(f"| {name} | {'bfloat16' if half else 'float32'} | {told} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    gains = []
    for name in NETWORKS:
        half, whole = (rate(network=name, half=one, busy=False, policy="PASSIVE") for one in (True, False))
        gains.append(f"{name} {half / whole:.2f}")
    return "\n".join([*lines, "", f"Speed-up of bfloat16 over float32, idle and passive: {', '.join(gains)}.", ""])


if __name__ == "__main__":
    main()
