"""What features in bfloat16 cost: their error, labels that change, and accuracy out of fold, pooled over four sets.

    .venv/bin/python benchmarks/bfloat16_table.py [--backbones googlenet] [--examples 300]

Each network runs in torch twice on the plain views of the same training examples: in float32, and under autocast in
bfloat16 (emulated, and slow, where the processor has no instructions for it; the rounding is the same). A linear probe
is solved on both features with the same folds. Test examples are not read. Writes docs/results/bfloat16.md.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from _markdown import head, line, told
from _pooled import Table, interval, mean_of
from _sets import ROOT, SETS

from regraft.activations.openvino import has_bfloat16, processor
from regraft.activations.slots import stacked
from regraft.backbones.backbone import Backbone
from regraft.backbones.opening import open_backbone
from regraft.files import write_text
from regraft.recipe import Recipe, parse_setting, with_settings
from regraft.tasks.linear import linear, solve
from regraft.values import drained
from regraft.workbench.session import Session, open_session

PAGE, PX, BATCH, FOLDS, SEED = ROOT / "docs" / "results" / "bfloat16.md", 128, 32, 5, 0
BAR = 0.003
"""Share of examples within which the interval has to lie for bfloat16 to be taken unasked."""
TOLD = """\
Accuracy of linear probes out of fold ({folds} folds, whole patients in one) on training examples of {sets}, at most
{examples} of each, {px} pixels, with features in float32 and in bfloat16 (torch, under autocast; here {how}). *Error*:
the norm of the difference of all features by that of the features. *Changed*: examples with another label. *Lost*:
accuracy in float32 less that in bfloat16; the mean over the sets with a 95 % interval that resamples examples
(patients) in every set. Test examples were not read. Made by `python benchmarks/bfloat16_table.py`."""


def features(backbone: Backbone, session: Session, positions: Sequence[int], precision: torch.dtype) -> np.ndarray:
    """Pooled features of the plain views (n d)."""
    inputs, found = session.inputs(backbone.card, 1), list[np.ndarray]()
    network = backbone.fresh_network()
    for stage in network.stages.values():
        stage.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        for first in range(0, len(positions), BATCH):
            records = stacked([inputs.load(at, 0, 0)[0] for at in positions[first : first + BATCH]])
            state = network.run({name: torch.from_numpy(one) for name, one in records.items()}, upto="output")
            found.append(network.readouts(state)["pooled"].float().numpy())
    return np.concatenate(found)


def compared(name: str, backbone: Backbone, most: int) -> tuple[list[object], Table]:
    """A set's numbers, and how much more often each example is right in float32 (1, 0, -1)."""
    recipe = with_settings(
        Recipe(data=str(SETS[name].open()), input_px=PX, seed=SEED), dict(map(parse_setting, SETS[name].settings))
    )
    session = drained(open_session(recipe, workers=1))
    chosen = np.random.default_rng(SEED).permutation(session.splits.train)[:most]
    targets, groups, task = session.targets[chosen], session.splits.groups[chosen], linear(session.task)
    dealt, labels, made = task.deal(targets, groups, FOLDS, SEED), [], []
    for precision in (torch.float32, torch.bfloat16):
        made.append(features(backbone, session, chosen.tolist(), precision))
        head_ = solve(task.solved_loss(targets), made[-1], fold_of=dealt.of_example)
        assert head_.out_of_fold is not None
        labels.append(head_.out_of_fold.argmax(axis=1))
    tested = dealt.of_example >= 0
    exact, reduced = ((one == targets)[tested] for one in labels)
    error = float(np.linalg.norm(made[1] - made[0]) / np.linalg.norm(made[0]))
    changed = int((labels[0] != labels[1])[tested].sum())
    lost = Table(task=name, values=exact[None].astype(float) - reduced[None], units=groups[tested])
    row = [name, int(tested.sum()), f"{error:.2%}", changed, f"{exact.mean():.3f}", f"{reduced.mean():.3f}"]
    return [*row, f"{lost.mean:+.3f}"], lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["googlenet"])
    parser.add_argument("--examples", type=int, default=300, help="of each set at most")
    given = parser.parse_args()
    torch.set_num_threads(1)
    how = "in its own instructions" if has_bfloat16() else "emulated"
    parts = [told(TOLD, folds=FOLDS, sets=", ".join(SETS), examples=given.examples, px=PX, how=how)]
    parts.append(f"Processor: {processor()[0]}.")
    for spec in given.backbones:
        backbone = drained(open_backbone(spec, input_px=PX))
        rows = head("set", "examples", "error", "changed", "float32", "bfloat16", "lost")
        tables = []
        for name in SETS:
            row, lost = compared(name, backbone, given.examples)
            rows.append(line(*row))
            tables.append(lost)
            print(spec, *row, flush=True)
        ends = interval(tables, min_seeds=1)
        assert ends is not None
        inside = ends[0] >= -BAR and ends[1] <= BAR
        verdict = f"Lost, mean over the sets: {mean_of(tables):+.4f} [{ends[0]:+.4f}, {ends[1]:+.4f}]; the interval "
        verdict += f"{'lies' if inside else 'does not lie'} within ±{BAR:.1%}."
        print(verdict, flush=True)
        parts += [f"## {spec}", "\n".join(rows), verdict]
    write_text(PAGE, "# What features in bfloat16 cost\n\n" + "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
