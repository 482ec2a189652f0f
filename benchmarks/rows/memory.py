"""Peak memory of feature extraction, and whether it grows with the number of images."""

from _measure import Context, Line, fitted
from _pictures import many_of, noise_set

TITLE = "Peak memory of feature extraction"
IMAGES, QUICK_IMAGES, FACTOR = 400, 48, 4
GROWTH_BAR = 1.1
PEAK_BEYOND = 350.0
WIDTH = 1024


def estimate(context: Context, image_s: float) -> float:
    """Seconds, given the seconds of one image in torchvision's eager network."""
    count = QUICK_IMAGES if context.quick else IMAGES
    return 40 + (FACTOR + 1) * count * (0.45 * image_s + 0.02)


def measure(context: Context) -> list[Line]:
    """One whole command at n images and one at four times as many, the prefix exported before."""
    count = QUICK_IMAGES if context.quick else IMAGES
    cache = context.fresh_cache("memory")
    fitted(context, "memory-export", "--strategy", "probe", cache=cache, data=noise_set(context.work / "memory-noise"))
    peaks = {}
    for number in (count, FACTOR * count):
        data = many_of(context.data, context.work / f"many-{number}", count=number)
        _, report = fitted(context, f"memory-{number}", "--strategy", "probe", "--set", "max_repeats=1", cache=cache,
                         data=data)  # fmt: skip
        peaks[number] = report["peak_memory_bytes"] / 2**20
    few, many = peaks.values()
    matrix = (FACTOR - 1) * count * WIDTH * 4 / 2**20
    return [
        Line(what=f"`regraft fit --strategy probe`, peak at {FACTOR * count} images", against="", values=(many,),
             unit="MiB", bar=GROWTH_BAR * few, beyond=PEAK_BEYOND if GROWTH_BAR * few > PEAK_BEYOND else None,
             detail=f"At {count} images {few:.0f} MiB. Target: at most {100 * (GROWTH_BAR - 1):.0f} % more at four "
                    f"times as many images; the head's feature matrix accounts for {matrix:.0f} MiB. Stretch target: "
                    f"under {PEAK_BEYOND:.0f} MiB."),
    ]  # fmt: skip
