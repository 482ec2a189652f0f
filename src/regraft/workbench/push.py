"""Push: upload a trained model to the Hugging Face hub, in its layout. Only tensors, metadata and model card are
sent."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regraft.backbones.fetch import endpoint, hub_library
from regraft.bundle_format import FACTS, TENSORS, bundle_folder
from regraft.bundles.bundle import load
from regraft.errors import RunError
from regraft.files import write_json, write_text
from regraft.records import to_json
from regraft.values import Event
from regraft.version import VERSION

CARD, CONFIG = "README.md", "config.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pushed(Event):
    """The last event of `push`."""

    url: str
    """URL of the model."""
    files: tuple[str, ...]
    """Names of the uploaded files."""


def push(model: Path, to: str, *, private: bool = False) -> Iterator[Event]:
    """Upload the model in `model` (a run or its model) to the repository `to` (`OWNER/NAME`), created if needed; yields
    events, the last one a `Pushed`. Nothing else of a run is sent, in particular no example.

    Raises:
        BundleError: the model is damaged.
        RunError: the hub rejects the upload.
    """
    bundle, folder = load(model), bundle_folder(model)
    yield from bundle.notices
    task, card = bundle.model.task, bundle.card
    config = {
        "library_name": "regraft", "regraft_version": VERSION, "model_type": card.family, "task": task.kind,
        "id2label": dict(enumerate(task.classes)), "modality": card.modality, "card": card.to_json(),
    }  # fmt: skip
    head = {"library_name": "regraft", "license": "other", "license_name": card.licence[:200]}
    # JSON is YAML: no text of a card can end the block or add to it.
    lines = "\n".join(f"{name}: {json.dumps(value)}" for name, value in head.items())
    use = f"\n## Use\n\n    hf download {to} --local-dir model\n    regraft predict model FILE\n"
    with tempfile.TemporaryDirectory(prefix="regraft-") as scratch:
        made = Path(scratch)
        write_json(made / CONFIG, to_json(config))
        write_text(made / CARD, f"---\n{lines}\n---\n\n{(folder / CARD).read_text(encoding='utf-8')}{use}")
        files = {CARD: made / CARD, CONFIG: made / CONFIG, FACTS: folder / FACTS, TENSORS: folder / TENSORS}
        try:
            hub = hub_library()
            api = hub.HfApi(endpoint=endpoint())
            url = api.create_repo(to, private=private, exist_ok=True)
            sent = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
            api.create_commit(to, sent, commit_message=f"A model trained with regraft {VERSION}")
        except Exception as error:  # its errors have no class of their own in common
            raise RunError(
                f"{endpoint()} did not accept {to}: {str(error).strip().splitlines()[0][:200]}",
                fix="log in with `hf auth login`, and check the name: OWNER/NAME.",
            ) from error
    yield Pushed(url=str(url), files=tuple(files))
