"""Partial fine-tuning per epoch: on stored activations against running the frozen stages again."""

from statistics import median

from _measure import Context, Cost, Line, epoch_seconds, fitted, ratio_line, script

TITLE = "Partial fine-tuning, per epoch"
CUTS = {"4e": ("5a and 5b trained", 5.5, 6.5), "4d": ("trained from 4e", 3.5, 4.0)}
"""By cut: what is trained, the bar, and what lies beyond."""
STORED_EPOCHS, FRESH_EPOCHS = 4, 2


def estimate(context: Context, image_s: float) -> float:
    """Seconds, given the seconds of one image in torchvision's eager network."""
    fill = len(CUTS) * (4 * context.num_train + context.num_val) * 0.45 * image_s
    finish = (context.num_train + context.num_val) * 0.9 * image_s + 12
    stored = STORED_EPOCHS * context.num_train * 0.25 * image_s + finish
    fresh = FRESH_EPOCHS * context.num_train * 0.7 * image_s + finish
    plain = context.num_train * image_s + 8
    return fill + 20 + context.rounds * (len(CUTS) * (stored + plain) + fresh)


def measure(context: Context) -> list[Line]:
    """For each cut in turn: plain PyTorch, ours stored, and (at 4e) ours computing anew."""
    cache = context.fresh_cache("partial")
    for cut in CUTS:
        stored(context, cut, 1, cache)
    plain: dict[str, list[dict]] = {cut: [] for cut in CUTS}
    ours: dict[str, list[Cost]] = {cut: [] for cut in CUTS}
    fresh: list[Cost] = []
    for _ in range(context.rounds):
        for cut in CUTS:
            plain[cut].append(script("recompute.py", context, "--cut", cut))
            ours[cut].append(stored(context, cut, STORED_EPOCHS, cache))
        fresh.append(epoch_cost(tuned(context, "4e", FRESH_EPOCHS, "0", cache)))
    lines = []
    for cut, (trained, bar, beyond) in CUTS.items():
        what = f"{trained} (cut {cut}), stored"
        bare = [Cost(wall=f["wall"] - f["decoding"], cpu=0.0, printed="") for f in plain[cut]]
        whole = [Cost(wall=f["wall"], cpu=0.0, printed="") for f in plain[cut]]
        share = median(f["decoding"] / f["wall"] for f in plain[cut])
        lines += [
            ratio_line(what, "plain PyTorch, channels-last, frozen stages recomputed, decoding not counted", bare,
                       ours[cut], bar=bar, beyond=beyond),
            ratio_line(what, "the same with decoding", whole, ours[cut],
                       detail=f"Decoding is {100 * share:.0f} % of it."),
        ]  # fmt: skip
    lines.append(
        ratio_line("5a and 5b trained (cut 4e), stored", "`regraft fit --views 0`: a new view every epoch", fresh,
                   ours["4e"], detail="Both ours: frozen stages recomputed in ONNX Runtime.")
    )  # fmt: skip
    return lines


def stored(context: Context, cut: str, epochs: int, cache) -> Cost:
    """One epoch on four stored views."""
    return epoch_cost(tuned(context, cut, epochs, "4", cache))


def tuned(context: Context, cut: str, epochs: int, views: str, cache) -> dict:
    """The report of a partial fine-tuning of so many epochs."""
    return fitted(
        context, f"partial-{cut}-{views}", "--strategy", "partial", "--cut", cut, "--views", views,
        "--set", f"options.epochs={epochs}", "--set", "options.min_steps=1", "--set", "options.patience=0", cache=cache,
    )[1]  # fmt: skip


def epoch_cost(report: dict) -> Cost:
    """What one epoch took; CPU seconds are not known by epoch."""
    return Cost(wall=epoch_seconds(report), cpu=0.0, printed="")
