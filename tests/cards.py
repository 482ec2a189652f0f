"""Cards of shipped networks as tests write them, beside a file that stands in for weights."""

import hashlib
from pathlib import Path
from typing import Any

from regraft.backbones.backbone import family_of
from regraft.files import write_json

ENVIRONMENT = {"python": "3.11.7", "torch": "2.9.0", "device": "cpu", "threads": 1}


def figure(what: str, value: float, **more: Any) -> dict[str, Any]:
    """A figure with a made-up interval."""
    return {
        "what": what,
        "value": value,
        "low": value - 0.0123,
        "high": value + 0.0234,
        "source": "python x.py",
        **more,
    }


def write_card(folder: Path, name: str = "googlenet", *, probes: float = 0.6543, size: int = 2_340_000) -> Path:
    """Write `NAME.safetensors` of so many bytes, which are no weights, and its card for 64 pixels; the card's path."""
    weights = folder / f"{name}.safetensors"
    weights.write_bytes(b"\0" * size)
    card = family_of(name)[0].card(family_of(name)[1]).with_input(64)
    path = weights.with_suffix(".json")
    written = {
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "card": {**card.to_json(), "weights": "shipped", "licence": "research use only", "trained_on": "3 pictures"},
        "recipe": {
            "command": f"regraft fit corpus --backbone {name}",
            "settings": {"options.lr": 0.002, "options.regulariser": ""},
            "examples": 70317,
            "epochs": 20,
            "best_epoch": 19,
            "seen": 1324420,
            "seconds": 3480,
            "curve": [{"epoch": at, "loss": 9 / at, "val_loss": 6 / at, "val_accuracy": at / 40} for at in (1, 10, 20)],
            "environment": ENVIRONMENT,
            "regraft": "0.1.0",
        },
        "figures": [
            figure("top-1 accuracy on the corpus", 0.4567),
            figure("top-5 accuracy on the corpus", 0.7891),
            figure("linear probes on 5 target tasks", probes),
        ],
        "limits": ["They saw little.", "They saw it small."],
    }
    write_json(path, written)
    return path
