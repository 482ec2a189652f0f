"""What lies between the probe and full fine-tuning: four real sets by four ways at one cut, three seeds.

    .venv/bin/python benchmarks/ways_table.py [--budget-min 60] [--only-write]

Resumable: a cell that is done is not run again. Writes docs/results/ways.md.
"""

from collections.abc import Sequence

from _cells import Cell, make_table
from _sets import ROOT
from core_table import INPUT_PX, STEPS, cells, page

WAYS = ("probe", "partial", "gradual", "lora")
PAGE = ROOT / "docs" / "results" / "ways.md"
TOLD = f"""GoogLeNet (torchvision's network) with the shared short checkpoint, input {INPUT_PX} pixels. `partial`,
`gradual` and `lora` act on the two stages above the cut 4e, in {STEPS} optimizer steps of 32 examples; everything else
is the default. The test parts are the sets' own. Accuracy is the mean over the seeds named; the interval is a 95 %
bootstrap over test examples of that mean (over patients in breast_histology, whose test part has five: too few for an
interval). `against the probe` is paired by example and seed. Runs have one thread each and went two at a time, so
seconds are rough. Made by `python benchmarks/ways_table.py`."""


def written(found: Sequence[Cell]) -> str:
    """The table as Markdown."""
    return page(found, WAYS, "Between the probe and full fine-tuning", TOLD)


if __name__ == "__main__":
    make_table(cells(WAYS, "ways"), written, PAGE, budget_min=60.0, description=__doc__)
