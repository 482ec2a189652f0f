"""Partial fine-tuning as a whole job: 20 epochs, filling the store with the default views included."""

from _measure import Context, Cost, Line, epoch_seconds, fitted, ratio_line, script

TITLE = "Partial fine-tuning, the whole job"
EPOCHS, MEASURED = 20, 3
BAR, BEYOND = 2.5, 3.0


def estimate(context: Context, image_s: float) -> float:
    """Seconds, given the seconds of one image in torchvision's eager network."""
    images = context.num_train + context.num_val
    finish = images * 0.9 * image_s + 15
    stored = (4 * context.num_train + context.num_val) * 0.45 * image_s + EPOCHS * context.num_train * 0.25 * image_s
    fresh = (images * 0.45 + epochs_of(context) * context.num_train * 0.7) * image_s
    return context.rounds * (stored + fresh + 2 * finish + context.num_train * image_s + 8)


def measure(context: Context) -> list[Line]:
    """A B C A B C: stored, computing anew, plain PyTorch. Both of ours with an empty cache."""
    ours, fresh, plain = [], [], []
    measured = epochs_of(context)
    for _ in range(context.rounds):
        ours.append(job(context, "4", EPOCHS)[0])
        cost, report = job(context, "0", measured)
        more = (EPOCHS - measured) * epoch_seconds(report)
        fresh.append(Cost(wall=cost.wall + more, cpu=0.0, printed=""))
        one = script("recompute.py", context, "--cut", "4e")
        plain.append(Cost(wall=EPOCHS * one["wall"], cpu=0.0, printed=""))
    extended = f" ({measured} epochs run, the others extrapolated)" if measured < EPOCHS else ""
    what = f"`regraft fit --strategy partial --cut 4e`, {EPOCHS} epochs, 4 stored views, from an empty cache"
    return [
        ratio_line(what, f"the same with `--views 0`: a new view every epoch{extended}", fresh, ours,
                   detail="Whole commands, both ours: frozen stages recomputed in ONNX Runtime. For what stored views "
                          "cost in accuracy, see views.md."),
        ratio_line(what, f"plain PyTorch, channels-last, frozen stages recomputed ({EPOCHS} times one epoch)", plain,
                   ours, bar=BAR, beyond=BEYOND,
                   detail="The loop alone, decoding included: no imports, probe, evaluation, bundle or report."),
    ]  # fmt: skip


def job(context: Context, views: str, epochs: int) -> tuple[Cost, dict]:
    """The whole command, its cache empty."""
    return fitted(
        context, f"job-{views}", "--strategy", "partial", "--cut", "4e", "--views", views,
        "--set", f"options.epochs={epochs}", "--set", "options.min_steps=1", "--set", "options.patience=0",
        cache=context.fresh_cache("job"),
    )  # fmt: skip


def epochs_of(context: Context) -> int:
    """Epochs of the recomputing job that are really run."""
    return min(EPOCHS, max(MEASURED, context.epochs))
