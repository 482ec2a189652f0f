"""Output of `backbones`, `strategies`, `cache`, `describe`, `bench`, `explain` and `lab`."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from regraft.doors.screen import aligned, listed, wrapped
from regraft.reports.audit import SEVERITIES
from regraft.values import NOTHING
from regraft.words import counted, duration, named, size

if TYPE_CHECKING:
    from pathlib import Path

    from regraft.contracts.page import Table
    from regraft.reports.advice import AdviceReport
    from regraft.reports.audit import AuditReport
    from regraft.workbench.backbones import BackboneFacts, WeightsFacts
    from regraft.workbench.bench import Benched
    from regraft.workbench.cache import CacheFacts, ClearedCache, StoredEntry
    from regraft.workbench.explain import Explained
    from regraft.workbench.lab import StudyFacts
    from regraft.workbench.strategies import StrategyFacts


def of_backbones(found: "Sequence[BackboneFacts]") -> str:
    """Return each backbone with its cuts and its weights."""
    parts = []
    for one in found:
        facts = listed([("variants", ", ".join(one.variants)), *_architecture(one), ("source", one.source)])
        weights = "\n".join(map(_weights, one.weights))
        prefer = wrapped(f"use it {one.prefer}", "  ")
        parts.append(f"{one.name}\n  {one.title}\n{prefer}\n{facts}\n  weights\n{weights}")
    own = "A saved model is also a backbone: --backbone RUN_FOLDER. It suits data similar to its own best."
    return "\n\n".join([*parts, own])


def of_advice(report: "AdviceReport") -> str:
    """Return the recipes that were considered, best first."""
    rows = [
        (f"{one.name}{' *' if one.tied else ''}", one.measured.told() if one.measured else NOTHING,
         one.predicted.told() if one.predicted else NOTHING, duration(one.cost.seconds) if one.cost else NOTHING)
        for one in report.candidates
    ]  # fmt: skip
    header = ["recipe (*: as good as the best)", report.metric.replace("_", " "), "predicted test result", "a fit"]
    return aligned(header, rows)


def of_audit(report: "AuditReport", folder: "Path | None") -> str:
    """Return the findings, most severe first, and the outcome."""
    parts = [wrapped(report.described + ".")]
    for one in report.findings:
        names = named(one.examples, 3)
        facts = [one.message, *([f"fix: {one.fix}"] if one.fix else []), *([names] if names else [])]
        parts.append(f"{one.severity}  {one.check}\n" + "\n".join(wrapped(fact, "      ") for fact in facts))
    counts = [f"{number} {words}" for severity, words in SEVERITIES.items() if (number := report.number(severity))]
    parts.append(wrapped(f"{counted(len(report.findings), 'finding')} of {counted(len(report.checks), 'check')}"
                         + (f": {', '.join(counts)}." if counts else ".")))  # fmt: skip
    return "\n\n".join(parts) + (f"\n\nreport  {folder / 'report.md'}" if folder else "")


def of_strategies(found: "Sequence[StrategyFacts]") -> str:
    """Return each strategy with its presets."""
    return "\n\n".join([*map(_strategy, found), "To list the options of a strategy: regraft strategies NAME"])


def of_options(found: "Sequence[StrategyFacts]") -> str:
    """Return each strategy with its presets, options and regularisers."""
    parts = []
    for one in found:
        options = [(f"{field.name} = {field.default}", field.sentence) for field in one.options]
        held = [(f"{facts.name}, weight {facts.weight:g}", facts.title) for facts in one.regularisers]
        parts += [
            _strategy(one),
            "  options (--set options.NAME=VALUE, or [options] in a recipe)\n" + _under(options),
            *(["  regularisers (--set options.regulariser=NAME)\n" + _under(held)] if held else []),
        ]
    return "\n\n".join(parts)


def of_cache(found: "CacheFacts") -> str:
    """Return the contents of the cache."""
    whole = [(str(found.path), size(found.bytes)), ("free on its disk", size(found.free_bytes))]
    whole += [(name, size(bytes_)) for name, bytes_ in found.others.items()]
    used = f"{size(found.store_bytes)} of at most {size(found.limit_bytes)}"
    whole.append(("activations and exported networks", used))
    header = ["backbone", "cut", "kept as", "rows", "size", "last used", "in use"]
    entries = aligned(header, map(_entry, found.entries)) if found.entries else "No activations are stored."
    return f"{listed(whole, indent='')}\n\n{entries}"


def of_cleared(done: "ClearedCache") -> str:
    """Return the result of clearing the cache."""
    parts = [
        f"{len(done.removed)} stored sets of activations deleted, {size(done.freed_bytes)} freed.",
        f"Cached scan results deleted, {size(done.scan_bytes)}." if done.scan_bytes else "",
        f"Unpacked archives deleted, {size(done.unpacked_bytes)}." if done.unpacked_bytes else "",
        f"{counted(done.unpacked_kept, 'unpacked archive')} in use by a running process: kept."
        if done.unpacked_kept
        else "",
        f"{len(done.kept)} in use by a running process: kept." if done.kept else "",
    ]
    return " ".join(filter(None, parts))


def of_network(described: Mapping[str, Any], *, layers: bool = False) -> str:
    """Return the description of a network, stage by stage or, with `layers`, layer by layer."""
    from regraft.reports import architecture

    cuts = ", ".join(f"{cut} (partial)" if cut == described["partial_cut"] else cut for cut in described["cuts"])
    facts = [("family", described["title"]), ("source", described["source"]), ("cuts", cuts)]
    facts += [("published", one) for one in architecture.accuracies(described)]
    blocks = [f"{architecture.headline(described)}\n{listed(facts)}"]
    for title, table, notes in architecture.sections(described, every_layer=layers):
        blocks += [f"{title}:", _table(table), "\n".join(map(wrapped, notes))]
    return "\n\n".join(filter(None, blocks))


def of_networks(compared: Mapping[str, Any]) -> str:
    """Return several networks, one per line."""
    from regraft.reports import architecture

    notes = "\n".join(map(wrapped, architecture.side_by_side_notes(compared)))
    return f"{_table(architecture.side_by_side(compared))}\n\n{notes}\n{listed(architecture.sources(compared))}"


def of_studies(found: "Sequence[StudyFacts]") -> str:
    """Return each study with its claim."""
    parts = [
        f"{one.name}\n  {one.title}\n{wrapped(one.claim, '  ')}\n{wrapped(f'source: {one.source}', '  ')}"
        for one in found
    ]
    return "\n\n".join([*parts, "Each study trains for some minutes on two cores: regraft lab NAME"])


def of_bench(found: "Benched") -> str:
    """Return the timed formats, and the machine."""
    rows = [
        [one.name + ("" if one.exported else " *"), size(one.bytes), f"{one.p50_ms:.2f}", f"{one.p95_ms:.2f}",
         f"{one.per_second:,.1f}"]
        for one in found.formats
    ]  # fmt: skip
    unchecked = any(not one.exported for one in found.formats)
    said = f"{found.processor}, {counted(found.threads, 'thread')}. Reading and preparing an input takes another " + (
        f"{found.prepare_ms:.2f} ms."
        + (" *: created for this benchmark, not compared with the model." if unchecked else "")
    )
    header = ["format", "size", "one input, p50 ms", "p95 ms", "inputs a second"]
    return "\n\n".join([aligned(header, rows, left=1), wrapped(said)])


def of_explanations(found: "Explained") -> str:
    """Return the predictions, and the nearest training example of each."""
    rows = [
        [one.prediction.id, one.prediction.label or "(no label)", one.explained,
         one.nearest[0].id if one.nearest else NOTHING, one.nearest[0].label if one.nearest else NOTHING]
        for one in found.explanations
    ]  # fmt: skip
    header = ["input", "predicted", "explained", "nearest training example", "its label"]
    return f"{aligned(header, rows)}\n\npage  {found.path / 'explained.html'}"


def _architecture(one: "BackboneFacts") -> list[tuple[str, str]]:
    found = one.architecture
    if found is None:
        return [("", f"and more; for metadata and cuts of one: regraft backbones {one.name}:VARIANT")]
    return [
        *(
            [("input", f"{found.input_px[0]} x {found.input_px[1]} pixels, {found.smallest_px} or more")]
            if found.input_px
            else []
        ),
        ("features", str(found.width)),
        ("cuts", ", ".join(f"{cut} (partial)" if cut == found.partial_cut else cut for cut in found.cuts)),
    ]


def _weights(one: "WeightsFacts") -> str:
    where = one.where
    if one.size_mb is not None:
        where = f"available, from {where}" if one.here else f"{one.size_mb:.0f} MiB to download from {where}"
    facts = [
        where,
        f"trained on {one.trained_on}" if one.trained_on else "",
        f"terms: {one.licence}" if one.licence else "",
        *(f"measured: {figure}" for figure in one.figures),
        *(f"limit: {limit}" for limit in one.limits),
        f"use {one.prefer}",
    ]
    name = f"    {one.spec}" + (f" ({one.variant})" if one.variant else "")
    return "\n".join([name, *(wrapped(fact, " " * 8) for fact in facts if fact)])


def _strategy(one: "StrategyFacts") -> str:
    presets = []
    for name, preset in one.presets.items():
        where = f"cut at {preset.cut}" if preset.cut else "cut set by the backbone"
        views = counted(preset.views, "view") if preset.views else "a new view every epoch"
        changed = "".join(f", {name}={value}" for name, value in preset.options.items())
        presets.append((name, f"{preset.title}; {where}, {views}{changed}"))
    return f"{one.name}\n{wrapped(one.title, '  ')}\n{listed(presets)}"


def _under(pairs: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"    {name}\n{wrapped(sentence, ' ' * 8)}" for name, sentence in pairs)


def _entry(one: "StoredEntry") -> list[str]:
    ago = max(0.0, time.time() - one.used)
    when = f"{ago / 86_400:.0f} days ago" if ago > 2 * 86_400 else f"{duration(ago)} ago"
    return [one.backbone, one.cut, one.dtype, f"{one.rows:,}", size(one.bytes), when, "yes" if one.pinned else ""]


def _table(table: "Table") -> str:
    return aligned(table.header, table.rows, left=table.left)
