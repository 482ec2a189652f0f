"""Folders of masks beside their images, which are easily taken for a class: reported, never left out."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from regraft.contracts.example import Example
from regraft.values import Notice

_MASKS = re.compile(r"masks?|seg(mentation)?s?|annotations?|labels?|gt|ground[ _-]?truths?", re.IGNORECASE)
"""What folders of masks are called."""
_ENDING = re.compile(r"[ _-]*(mask|seg|segmentation|label|gt|annotation)$", re.IGNORECASE)
"""What the names of masks may have more than those of their images."""
_MIN_SHARE = 0.5
"""Where at least this share of its names are those of another class, such a folder is reported (our choice)."""


def suspect_masks(examples: Sequence[Example]) -> list[Notice]:
    """A notice for every class that is called as masks are and whose files are called as another class's."""
    classes = {example.label for example in examples}
    suspects = sorted(filter(_MASKS.fullmatch, classes))
    if not suspects:
        return []
    stems: dict[str, set[str]] = {}
    for example in examples:
        stems.setdefault(example.label, set()).add(_ENDING.sub("", PurePosixPath(example.id).stem))
    notices = []
    for name in suspects:
        for other in sorted(classes.difference(suspects)):
            shared = len(stems[name] & stems[other])
            if shared >= _MIN_SHARE * len(stems[name]):
                text = (
                    f"{shared:,} of {len(stems[name]):,} names in the class {name!r} are also in {other!r}. If these "
                    "are masks of those images, they are not a class: segmentation is not among the tasks here. Give "
                    "a folder with one sub-folder for every class, or a table with the columns path and label."
                )
                notices.append(Notice(text=text, topic="data"))
    return notices
