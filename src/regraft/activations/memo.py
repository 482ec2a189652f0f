"""Small facts that are costly to find, and exported prefixes: remembered in the store's folder under a digest of what
they depend on. Both can be made again at any time."""

import json
from pathlib import Path

from regraft.activations._disk import touch, writing
from regraft.files import write_json
from regraft.identity import digest_json
from regraft.values import Json


class Memo:
    """The memory of the store in the folder `root`. Safe under concurrent use: a fact is one file, written whole."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, key: Json) -> Json:
        """The fact kept under `key`; None when there is none, or its file is damaged."""
        try:
            kept = json.loads(self._fact(key).read_bytes())
        except (OSError, ValueError):
            return None
        return kept.get("value") if isinstance(kept, dict) and kept.get("key") == key else None

    def put(self, key: Json, value: Json) -> None:
        """Keep `value` under `key`, instead of what was there.

        Raises:
            OutOfSpace: the disk is full.
            StoreNotWritable: the folder is read-only.
        """
        path = self._fact(key)
        with writing(path):
            write_json(path, {"key": key, "value": value})

    def file(self, key: Json, suffix: str) -> Path:
        """Where the file that depends on `key` lies, or is to be written with `files.atomic`; existing, it is marked
        as used, so that it is not evicted within ten minutes."""
        path = self.root / "prefixes" / f"{digest_json(key)}{suffix}"
        if path.exists():
            touch(path)
        return path

    def _fact(self, key: Json) -> Path:
        return self.root / "facts" / f"{digest_json(key)}.json"
