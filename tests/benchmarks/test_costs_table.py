"""The page of costs, from counts and made-up speeds."""

from typing import Any

from costs_table import NETWORKS, claims, page, speeds


def network(spec: str, **facts: Any) -> dict[str, Any]:
    """A network as `SideBySide.to_json` has it."""
    speed = {"per_second": 20.0, "rounds": [10.0, 20.0, 40.0], "ratio": 1.0}
    common = {"spec": spec, "name": f"{spec}:any", "input_px": [224, 224], "running_bytes": 1, "accuracies": []}
    return {**common, "speed": {"running": speed, "training": speed}, **facts}


def networks() -> list[dict[str, Any]]:
    """All of them alike, but for the four that sentences are written about."""
    counts = {"parameters": 10, "multiply_adds": 10, "kept_bytes": 10}
    found = [network(spec, **counts) for spec in NETWORKS]
    by_spec = {one["spec"]: one for one in found}
    by_spec["googlenet:paper"] |= {"parameters": 7_000_000, "multiply_adds": 1_600_000_000, "kept_bytes": 48_000_000}
    by_spec["alexnet"] |= {"parameters": 61_600_000, "multiply_adds": 800_000_000, "kept_bytes": 4_000_000}
    by_spec["vgg16"] |= {"parameters": 140_000_000, "multiply_adds": 16_000_000_000}
    by_spec["googlenet:naive"] |= {"parameters": 98_000_000, "multiply_adds": 12_800_000_000}
    slow = {"per_second": 5.0, "rounds": [2.0, 5.0, 20.0], "ratio": 0.25}
    by_spec["googlenet:naive"]["speed"] = {"running": slow, "training": slow}
    return found


def test_every_number_in_the_sentences_follows_from_the_counts() -> None:
    said = claims({one["spec"]: one for one in networks()})
    for piece in (
        "8.8 times fewer, 7,000,000 against 61,600,000",
        "20.0 times fewer than VGG-16",
        "1.60 billion counted, 2.0 times AlexNet's; VGG-16 takes 10.0 times",
        "14.0 times the parameters and 8.0 times",
        "a training step took 4.0 times as long",
        "48.0 MB per example in GoogLeNet and 4.0 MB in AlexNet",
    ):
        assert piece in said


def test_ratios_have_their_spread_over_the_rounds_and_the_first_has_none() -> None:
    rows = {line.split(" | ")[0].strip("| "): line for line in speeds(networks()).splitlines()}
    assert "| 1.00 | 20 |" in rows["googlenet:bn:any"]
    assert "0.25 [0.20-0.50] | 5 |" in rows["googlenet:naive:any"]


def test_a_page_says_how_it_was_made_and_that_the_machine_was_shared() -> None:
    compared = {"networks": networks(), "timing": {"batch": 4, "rounds": 3, "threads": 1, "device": "cpu"}}
    shown = page(compared, {"paper": []}, 2.5)
    assert "`python benchmarks/costs_table.py --rounds 3 --batch 4 --threads 1`" in shown
    assert "it was shared with other work** (load 2.5" in shown
    assert "3 rounds" in shown
    assert "1 thread." in shown
