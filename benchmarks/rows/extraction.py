"""Feature extraction as whole commands, cold and warm, against the tutorial's 25 epochs."""

from _measure import Context, Cost, Line, fitted, ratio_line, scaled, script
from _pictures import noise_set

TITLE = "Feature extraction, whole commands"
EPOCHS = 25
BAR, BEYOND = 40.0, 50.0
WARM_BAR, WARM_BEYOND = 1.5, 0.8


def estimate(context: Context, image_s: float) -> float:
    """Seconds, given the seconds of one image in torchvision's eager network."""
    images = context.num_train + context.num_val
    tutorial = context.epochs * images * image_s + 8
    commands = 2 * 0.45 * images * image_s + 30
    return 30 + context.rounds * (tutorial + commands)


def measure(context: Context) -> list[Line]:
    """A B C D A B C D: tutorial, cold, cold with the prefix exported, warm."""
    workers = 4 if context.threads > 1 else 0
    template = context.fresh_cache("template")
    fitted(context, "other-data", "--strategy", "probe", cache=template, data=noise_set(context.work / "noise"))
    theirs: list[Cost] = []
    cold: list[Cost] = []
    exported: list[Cost] = []
    warm: list[Cost] = []
    imports = []
    for _ in range(context.rounds):
        found = script("tutorial.py", context, "--epochs", str(context.epochs), "--workers", str(workers))
        one = [Cost(wall=epoch["wall"], cpu=epoch["cpu"], printed="") for epoch in found["epochs"]]
        whole = Cost(wall=sum(e.wall for e in one), cpu=sum(e.cpu for e in one), printed="")
        theirs.append(scaled(whole, EPOCHS / len(one)))
        cold.append(fitted(context, "probe", "--strategy", "probe", cache=context.fresh_cache("cold"))[0])
        cache = context.fresh_cache("exported", template)
        exported.append(fitted(context, "probe", "--strategy", "probe", cache=cache)[0])
        cost, report = fitted(context, "probe", "--strategy", "probe", "--set", "max_repeats=1", cache=cache)
        warm.append(cost)
        imports.append(cost.wall - sum(phase["seconds"] for phase in report["phases"]))
    made = f"{context.epochs} measured" + (f", times {EPOCHS / context.epochs:g}" if context.epochs < EPOCHS else "")
    against = f"the tutorial's {EPOCHS} epochs ({made}; its imports not counted, {workers} data loader workers)"
    plain = (
        "One plain view per example where the tutorial augments: the same task, not the same work. Imports, scan, "
        "head, intervals, bundle and report included"
    )
    return [
        ratio_line("probe, empty cache", against, theirs, cold, bar=BAR, beyond=BEYOND,
                   detail=f"{plain}, as well as converting weights and exporting the frozen stages"),
        ratio_line("probe, empty cache, frozen stages exported by an earlier run on other data", against, theirs,
                   exported, bar=BAR, beyond=BEYOND, detail=plain),
        Line(what="probe, warm cache", against="", values=tuple(cost.wall for cost in warm), unit="s",
             bar=WARM_BAR, beyond=WARM_BEYOND,
             detail=f"Minimum CPU time {min(cost.cpu for cost in warm):.2f} s; start, imports and exit "
                    f"at least {min(imports):.2f} s."),
        ratio_line("probe, warm cache", against, theirs, warm),
    ]  # fmt: skip
