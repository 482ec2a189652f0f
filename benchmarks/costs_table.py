"""What the networks of the shelf cost, and how fast they are here, as ratios to GoogLeNet measured in one run.

    .venv/bin/python benchmarks/costs_table.py [--rounds 5] [--batch 8] [--threads 1] [--out PAGE]

Counts need no weights and are the same everywhere. Speeds are measured in turn (A B C, A B C …) by
`regraft describe … --measure`, whose verb this calls. Writes docs/results/costs.md, and beside it the drawing of the
paper's network.
"""

import argparse
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _sets import ROOT

from regraft.activations.openvino import processor
from regraft.contracts.page import Table
from regraft.doors.screen import watched
from regraft.reports import architecture
from regraft.reports.architecture_page import draw
from regraft.words import bullets, counted, size, table
from regraft.workbench.describe import SideBySide, describe, side_by_side, timing_of

NETWORKS = (
    "googlenet:bn", "googlenet:paper", "googlenet:torchvision", "googlenet:naive", "alexnet", "vgg16", "resnet18",
    "resnet50", "inception_v3", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "vit_b_16",
)  # fmt: skip
"""The first is what the others are compared with."""
PAGE = ROOT / "docs" / "results" / "costs.md"
DRAWING = "googlenet.svg"


def main() -> None:
    """Count, measure, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each network is measured (5)")
    parser.add_argument("--batch", type=int, default=8, help="examples in a batch (8)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--out", type=Path, default=PAGE, help="page to write")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    timing = timing_of(batch=given.batch, rounds=given.rounds, threads=given.threads, device="cpu")
    (found,) = (one for one in watched(side_by_side(NETWORKS, timing=timing)) if isinstance(one, SideBySide))
    paper = describe("googlenet:paper").to_json()
    given.out.write_text(page(found.to_json(), paper, load), encoding="utf-8")
    given.out.with_name(DRAWING).write_text(draw(paper), encoding="utf-8")
    print(f"wrote {given.out}")


def page(compared: Mapping[str, Any], paper: Mapping[str, Any], load: float) -> str:
    """The page as Markdown."""
    timing, networks = compared["timing"], {one["spec"]: one for one in compared["networks"]}
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "regraft"))
    machine, _ = processor()
    return f"""# What the networks cost

Made by
`python benchmarks/costs_table.py --rounds {timing["rounds"]} --batch {timing["batch"]} --threads {timing["threads"]}`;
for any networks, `regraft describe NAME NAME … --measure`. Counted per example, in a pass on tensors without values, in
32-bit floats, for a classifier of 1000 classes and without side heads; checked in tests against hooks on a real forward
pass of every variant.

{counts(compared["networks"])}

`to train`: bytes that training keeps of each further example for the backward pass. `to run`: most bytes of activations
alive at once. ImageNet top-1 is on the validation split, one central crop, as torchvision states it of its weights
(`regraft describe NAME` tells the file); in brackets where they are of another variant of the family.

## Speed, as ratios to {networks[NETWORKS[0]]["name"]}

{speeds(compared["networks"])}

Median [smallest-largest] of {counted(timing["rounds"], "round")} in turn; each ratio is taken within a round. Plain
torch, batch norm not folded, channels last, batches of {timing["batch"]}, {counted(timing["threads"], "thread")}.
Machine: {machine}, {os.cpu_count()} cores, {platform.system()}; **it was shared with other work** (load {load:.1f}
when the run began), which moves examples a second far more than ratios. {versions}.

## What is said of GoogLeNet, and what was counted

{claims(networks)}

## The paper's own table 1

{markdown(architecture.paper(paper))}

K is 1024. Three rows do not follow from their own filter counts:

{bullets(f"**{name}**: {note}" for name, note in architecture.paper_notes(paper))}

## The network

`regraft describe googlenet:paper --svg {DRAWING}`; with `--html` the tables and the drawing are one page.

![GoogLeNet, stage by stage]({DRAWING})
"""


def counts(networks: Sequence[Mapping[str, Any]]) -> str:
    """The table of counts."""
    return markdown(architecture.side_by_side({"networks": networks, "timing": None}))


def speeds(networks: Sequence[Mapping[str, Any]]) -> str:
    """Ratios to the first network, and the first's own speed for scale."""
    first, rows = networks[0]["speed"], []
    for one in networks:
        row = [one["name"]]
        for way in ("running", "training"):
            ratios = [a / b for a, b in zip(one["speed"][way]["rounds"], first[way]["rounds"], strict=True)]
            spread = f" [{min(ratios):.2f}-{max(ratios):.2f}]" if one is not networks[0] else ""
            row += [f"{one['speed'][way]['ratio']:.2f}{spread}", architecture.rate(one["speed"][way]["per_second"])]
        rows.append(row)
    return table(["network", "running", "examples/s", "training", "examples/s"], rows)


def claims(networks: Mapping[str, Mapping[str, Any]]) -> str:
    """Sentences on the paper's claims, every number from the counts."""
    paper, naive = networks["googlenet:paper"], networks["googlenet:naive"]
    alexnet, vgg = networks["alexnet"], networks["vgg16"]

    def times(of: str, more: Mapping[str, Any], less: Mapping[str, Any]) -> str:
        return f"{more[of] / less[of]:.1f}"

    step = paper["speed"]["training"]["ratio"] / naive["speed"]["training"]["ratio"]
    fewer = (
        f"*12 times fewer parameters than AlexNet* (section 1): {times('parameters', alexnet, paper)} times by what is "
        f"counted, {paper['parameters']:,} against {alexnet['parameters']:,} of torchvision's AlexNet in one column; "
        f"{times('parameters', vgg, paper)} times fewer than VGG-16."
    )
    budget = (
        f"*A budget of 1.5 billion multiply-adds* (section 1): {paper['multiply_adds'] / 1e9:.2f} billion are counted, "
        f"{times('multiply_adds', paper, alexnet)} times AlexNet's; VGG-16 takes "
        f"{times('multiply_adds', vgg, paper)} times as many."
    )
    reductions = (
        f"*1x1 reductions make it affordable* (section 4): without them the same branches hold "
        f"{times('parameters', naive, paper)} times the parameters and cost {times('multiply_adds', naive, paper)} "
        f"times the multiply-adds, for the pool then passes all channels on, and they grow from module to module; a "
        f"training step took {step:.1f} times as long."
    )
    memory = (
        f"Few parameters are not little memory: training keeps {size(paper['kept_bytes'])} of every example in "
        f"GoogLeNet, and {size(alexnet['kept_bytes'])} in AlexNet, which has {times('parameters', alexnet, paper)} "
        "times its parameters."
    )
    return bullets([fewer, budget, reductions, memory])


def markdown(shown: Table) -> str:
    """A table of the library's as Markdown."""
    return table(shown.header, shown.rows)


if __name__ == "__main__":
    main()
