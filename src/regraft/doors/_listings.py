"""What `backbones`, `strategies` and `cache` print."""

import time
from collections.abc import Sequence
from textwrap import fill, indent

from regraft.doors._tables import WIDTH, aligned, listed
from regraft.reports.words import duration, size
from regraft.words import counted
from regraft.workbench.backbones import BackboneFacts, WeightsFacts
from regraft.workbench.cache import CacheFacts, ClearedCache, StoredEntry
from regraft.workbench.strategies import StrategyFacts


def of_backbones(found: Sequence[BackboneFacts]) -> str:
    """Each with its cuts and its weights."""
    parts = []
    for one in found:
        facts = [("variants", ", ".join(one.variants)), *_architecture(one), ("source", one.source)]
        weights = "\n".join(_weights(weights) for weights in one.weights)
        parts.append(
            f"{one.name}\n  {one.title}\n{_wrapped(f'prefer it {one.prefer}')}\n{listed(facts)}\n  weights\n{weights}"
        )
    said = "A model that regraft saved is a backbone too: --backbone PATH_OF_A_RUN. It is nearest where its data are."
    return "\n\n".join([*parts, said])


def of_strategies(found: Sequence[StrategyFacts], *, options: bool) -> str:
    """Each with its presets and, where asked for, the table of its options."""
    parts = []
    for one in found:
        presets = []
        for preset in one.presets:
            where = f"cut at {preset.cut}" if preset.cut else "cut where the backbone says"
            views = counted(preset.views, "view") if preset.views else "a new view every epoch"
            changed = "".join(f", {name}={value}" for name, value in preset.options.items())
            presets.append((preset.name, f"{preset.title}; {where}, {views}{changed}"))
        text = f"{one.name}\n{_wrapped(one.title)}\n{listed(presets)}"
        if options:
            rows = [(f"{field.name} = {field.default}", field.sentence) for field in one.options]
            text += "\n\n  options (--set options.NAME=VALUE, or [options] in a recipe)\n"
            text += "\n".join(f"    {name}\n{_wrapped(sentence, '        ')}" for name, sentence in rows)
            if one.regularisers:
                text += "\n\n  regularisers (--set options.regulariser=NAME)\n"
                held = [(f"{facts.name}, weight {facts.weight:g}", facts.title) for facts in one.regularisers]
                text += "\n".join(f"    {name}\n{_wrapped(title, '        ')}" for name, title in held)
        parts.append(text)
    if not options:
        parts.append("The options of one: regraft strategies NAME")
    return "\n\n".join(parts)


def of_cache(found: CacheFacts) -> str:
    """What lies in the cache."""
    whole = [(str(found.path), size(found.bytes)), ("free on its disk", size(found.free_bytes))]
    whole += [(name, size(bytes_)) for name, bytes_ in found.others.items()]
    whole.append(
        ("activations and exported networks", f"{size(found.store_bytes)} of at most {size(found.limit_bytes)}")
    )
    header = ["backbone", "cut", "kept as", "rows", "size", "last used", "in use"]
    entries = aligned(header, map(_entry, found.entries)) if found.entries else "No activations are stored."
    return f"{listed(whole, indent='')}\n\n{entries}"


def of_cleared(done: ClearedCache) -> str:
    """What clearing did."""
    said = f"{len(done.removed)} stored sets of activations deleted, {size(done.freed_bytes)} freed."
    if done.scan_bytes:
        said += f" What scans remembered of files is deleted too, {size(done.scan_bytes)}."
    if done.unpacked_bytes:
        said += f" Unpacked archives are deleted too, {size(done.unpacked_bytes)}."
    if done.unpacked_kept:
        said += f" {counted(done.unpacked_kept, 'unpacked archive')} in use by a running process: kept."
    if done.kept:
        said += f" {len(done.kept)} are in use by a running process and were kept."
    return said


def _architecture(one: BackboneFacts) -> list[tuple[str, str]]:
    found = one.architecture
    if found is None:
        return [("", f"and more; the facts and cuts of one: regraft backbones {one.name}:VARIANT")]
    return [
        ("input", f"{found.input_px[0]} x {found.input_px[1]} pixels, {found.smallest_px} or more"),
        ("features", str(found.width)),
        ("cuts", ", ".join(f"{cut} (partial)" if cut == found.partial_cut else cut for cut in found.cuts)),
    ]


def _weights(one: WeightsFacts) -> str:
    fetched = "" if one.size_mb is None else f"in the cache, from {one.where}" if one.here else ""
    where = fetched or (f"{one.size_mb:.0f} MiB to fetch from {one.where}" if one.size_mb is not None else one.where)
    lines = [f"    {one.spec}" + (f" ({one.variant})" if one.variant else ""), f"        {where}"]
    if one.trained_on:
        lines.append(f"        trained on {one.trained_on}")
    if one.licence:
        lines.append(_wrapped(f"terms: {one.licence}", "        "))
    lines += [_wrapped(f"measured: {figure}", "        ") for figure in one.figures]
    lines += [_wrapped(f"limit: {limit}", "        ") for limit in one.limits]
    return "\n".join([*lines, _wrapped(f"prefer {one.prefer}", "        ")])


def _entry(one: StoredEntry) -> list[str]:
    ago = max(0.0, time.time() - one.used)
    when = f"{ago / 86_400:.0f} days ago" if ago > 2 * 86_400 else f"{duration(ago)} ago"
    return [one.backbone, one.cut, one.dtype, f"{one.rows:,}", size(one.bytes), when, "yes" if one.pinned else ""]


def _wrapped(text: str, by: str = "  ") -> str:
    return indent(fill(text, WIDTH - len(by)), by)
