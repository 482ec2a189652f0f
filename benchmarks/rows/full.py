"""Training 5a and 5b on stored activations against fine-tuning the whole network, per epoch."""

from _measure import Context, Cost, Line, fitted, ratio_line, script
from rows.partial import epoch_cost, stored

TITLE = "The upper stages against the whole network, per epoch"
BAR, BEYOND = 10.0, 13.0
STORED_EPOCHS = 4


def estimate(context: Context, image_s: float) -> float:
    """Seconds, given the seconds of one image in torchvision's eager network."""
    images = context.num_train + context.num_val
    finish = images * 0.9 * image_s + 12
    fill = (4 * context.num_train + context.num_val) * 0.45 * image_s
    both = (2 * 2.5 + STORED_EPOCHS * 0.25) * context.num_train * image_s + 2 * finish + 8
    return fill + finish + 20 + context.rounds * both


def measure(context: Context) -> list[Line]:
    """A B C A B C: our full fine-tuning, plain PyTorch's, ours on stored activations."""
    cache = context.fresh_cache("full")
    stored(context, "4e", 1, cache)
    full, plain, ours = [], [], []
    for _ in range(context.rounds):
        _, report = fitted(context, "full", "--strategy", "full", "--set", "options.epochs=1",
                           "--set", "options.min_steps=1", cache=cache)  # fmt: skip
        full.append(epoch_cost(report))
        found = script("recompute.py", context, "--cut", "input")
        plain.append(Cost(wall=found["wall"], cpu=0.0, printed=""))
        ours.append(stored(context, "4e", STORED_EPOCHS, cache))
    what = "5a and 5b trained (cut 4e), stored"
    return [
        ratio_line(what, "`regraft fit --strategy full`, decoding included", full, ours, bar=BAR, beyond=BEYOND),
        ratio_line(what, "plain PyTorch, channels-last, every stage trained, decoding included", plain, ours, bar=BAR,
                   beyond=BEYOND),
    ]  # fmt: skip
