"""What the names of files give away: groups, offered and never assumed, and masks beside their images.

Files of one patient, plant or recording are often called alike up to a point: `person39_virus_85`,
`8863_idx5_x1901_y1251`. Names are sorted by their form (every run of digits the same), and for each form the shortest
prefix is looked for that has a number in it and is shared the way groups are. The thresholds are our choice; on the
four small sets they were tried on they find the patients of chest X-rays and tissue sections, and nothing in
photographs named after a web site's numbers or by random identifiers.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from regraft.contracts.example import Example
from regraft.values import Notice

_MIN_FILES = 30
"""Fewer names say too little."""
_MIN_GROUPS = 8
"""Fewer prefixes than this are rather cameras, days or classes than what must stay together."""
_MAX_SHARE = 0.2
"""No prefix may hold more than this share of the files of its form."""
_MIN_SHARED = 0.25
"""At least this share of all files must have a prefix in common with another."""
_MAX_FORMS = 4
"""A pattern that spells out more prefixes than this is said shorter, where that finds the same groups."""
_LETTERS = r"[^\W\d_]+"
_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}|[0-9a-f]{16,}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Groups that names of files suggest."""

    pattern: str
    """Finds them in ids: a regular expression whose first group names the example's group."""
    names: tuple[str, ...]
    """The group of every example; its own name where it has none."""


def suggest_groups(ids: list[str]) -> list[Notice]:
    """At most one notice with a pattern that fits these ids, and what it would do."""
    if (found := suggested_groups(ids)) is None:
        return []
    shared = Counter(found.names)
    example, count = shared.most_common(1)[0]
    together = sum(count for count in shared.values() if count > 1)
    text = (
        f"The names of the files look as if {together:,} of {len(ids):,} belong together in groups ({count} begin "
        f"with {example!r}). If that is a patient, a plant or a place, keep it on one side of every split: "
        f"--group-pattern '{found.pattern}'"
    )
    return [Notice(text=text, topic="data")]


def suggested_groups(ids: list[str]) -> Suggestion | None:
    """The groups that these ids suggest; None where they suggest none."""
    stems = [one.rpartition("/")[2].rpartition(".")[0] for one in ids]
    if len(stems) < _MIN_FILES:
        return None
    forms: dict[str, list[str]] = {}
    for stem in stems:
        forms.setdefault(re.sub(r"\d+", "#", stem), []).append(stem)
    prefixes: dict[str, str] = {}
    for some in forms.values():
        prefixes |= _prefix(some)
    names = tuple(prefixes.get(stem, stem) for stem in stems)
    together = sum(count for count in Counter(names).values() if count > 1)
    if not prefixes or together < _MIN_SHARED * len(stems):
        return None
    return Suggestion(pattern=_pattern(ids, stems, prefixes), names=names)


def _pattern(ids: list[str], stems: list[str], prefixes: dict[str, str]) -> str:
    """What finds these prefixes in these ids: words spelled out, or any words where there are many and it finds no
    others."""
    digits = {re.sub(r"\d+", "0", re.escape(prefix)) for prefix in prefixes.values()}
    spelled, shorter = (
        "|".join(sorted({form.replace("0", r"\d+") for form in forms}, key=len, reverse=True))
        for forms in (digits, {re.sub(_LETTERS, lambda _: _LETTERS, form) for form in digits})
    )
    whole = r"(?:^|/)({})[_. -][^/]*$"
    if len(digits) > _MAX_FORMS:
        found = [re.search(whole.format(shorter), one) for one in ids]
        if all((one[1] if one else None) == prefixes.get(stem) for one, stem in zip(found, stems, strict=True)):
            return whole.format(shorter)
    return whole.format(spelled)


def _prefix(stems: list[str]) -> dict[str, str]:
    """The shortest prefix that groups names of one form, by name; nothing where there is none."""
    pieces = [re.split(r"([_\-. ]+)", stem) for stem in stems]
    if len(stems) < _MIN_GROUPS or _RANDOM.search(stems[0]):
        return {}
    for length in range(1, min(len(one) for one in pieces), 2):
        prefixes = ["".join(one[:length]) for one in pieces]
        counts = Counter(prefixes)
        if not any(character.isdigit() for character in prefixes[0]) or len(counts) < _MIN_GROUPS:
            continue
        if max(counts.values()) > max(2, _MAX_SHARE * len(stems)):
            continue
        return {} if len(counts) == len(stems) else dict(zip(stems, prefixes, strict=True))
    return {}


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
