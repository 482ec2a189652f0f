"""Recipes: build a recipe from a path and settings, choose the run's folder, and resolve names: strategy, preset,
options, cut, views. Does not import torch."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.contracts.modality import MODALITIES
from regraft.contracts.strategy import STRATEGIES, Asked, Preset, Strategy
from regraft.data.open import is_there
from regraft.errors import BadData, BadRecipe, BadRequest, BundleError, RunError
from regraft.recipe import Recipe, Seen, Source, Target, built, read_recipe, with_settings
from regraft.values import Notice
from regraft.workbench.strategies import strategies

if TYPE_CHECKING:
    from regraft.backbones.backbone import Backbone
    from regraft.backbones.opening import Opening
    from regraft.contracts.family import Card
    from regraft.contracts.task import Reads, Task
    from regraft.data.dataset import Dataset

AUTO = "auto"
"""Strategy name for taking the advice of `advise`."""
RUNS = Path("runs")
"""Default folder for runs."""


def recipe_for(target: str | Path, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe in the file `target` (a `.toml`), or a new one for the data at `target`, with `settings`
    applied.

    Fields that a setting changes are no longer checked against the recipe's `[seen]`. Relative paths in the recipe are
    relative to the current directory; see `placed`.

    Raises:
        BadRecipe: the file is not a recipe, or a setting does not exist or has the wrong type.
        UnknownName: there is no such strategy.
    """
    path = Path(target)
    before = placed(read_recipe(path), path) if path.suffix == ".toml" else Recipe(data=str(target))
    after = with_settings(before, settings)
    other_data = _read(after) != _read(before)
    other_weights = _weights(after) != _weights(before)
    seen = Seen(backbone="" if other_weights else after.seen.backbone, data="" if other_data else after.seen.data)
    return replace(after, seen=seen)


def placed(recipe: Recipe, path: Path) -> Recipe:
    """Return the recipe at `path` with its data and backbone looked up beside the file, if they are not in the current
    directory.

    A run stores paths as given, relative to the directory where it was started, which is usually above its own; so
    parent folders of a run's recipe are searched too. Its `[seen]` rejects other data of the same name.
    """
    folder = Path(os.path.abspath(path.expanduser())).parent  # noqa: PTH100 - links in the path are kept
    folders = [folder, *folder.parents] if recipe.seen.data else [folder]

    def found(text: str) -> str:
        start, given = re.fullmatch(r"(bundle:|[^@/]*@file:)?(.*)", text, re.DOTALL).groups("")  # type: ignore[union-attr]
        if not given or is_there(given):
            return text
        return next((f"{start}{one / given}" for one in folders if is_there(one / given)), text)

    backbone = found(recipe.backbone) if re.search(r"[/\\:]", recipe.backbone) else recipe.backbone
    return replace(recipe, data=found(recipe.data), backbone=backbone)


def moved(recipe: Recipe, target: str | Path) -> Iterator[Notice]:
    """Yield a notice if the data of the recipe file `target` are read from another place than it says."""
    path = Path(target)
    if path.suffix == ".toml" and (said := read_recipe(path).data) != recipe.data:
        yield Notice(text=f"The data of {target} ({said!r} there) are read from {recipe.data}.", topic="data")


def extension_for(
    run: str | Path, data: str | Path, *, old: str | Path | None, max_loss: float, settings: Mapping[str, Any]
) -> Recipe:
    """Return the recipe that adds the classes of the labelled examples at `data` to the model in `run`.

    `data` may also contain examples of old classes. More of these come from `old` or, if that is None, from the run's
    own data.

    Raises:
        BadRecipe: a setting does not exist or has the wrong type.
    """
    options = {"options.old": "" if old is None else str(old), "options.max_loss": max_loss}
    recipe = Recipe(data=str(data), backbone=f"bundle:{run}", strategy="extend")
    return with_settings(recipe, {**options, **settings})


def folder_for(recipe: Recipe, *, resume: bool) -> Path:
    """Return the default folder of a run: `runs/DATA-STRATEGY`, with a number if it exists.

    With `resume`, return the newest unfinished one of these.

    Raises:
        RunError: there is none to resume.
    """
    data = Path(recipe.data).expanduser().resolve()
    words = re.sub(
        r"[^\w.-]+", "-", f"{data.stem.removesuffix('.tar') if data.is_file() else data.name}-{recipe.strategy}"
    )
    taken = []
    number, path = 1, RUNS / words
    while path.exists():
        taken.append(path)
        number += 1
        path = RUNS / f"{words}-{number}"
    if not resume:
        return path
    unfinished = [one for one in taken if (one / "begun.json").is_file()]
    if not unfinished:
        raise RunError(f"There is no unfinished run {RUNS / words}.", fix="pass its folder: --out FOLDER --resume.")
    return unfinished[-1]


def _read(recipe: Recipe) -> tuple[str, Source, str, Target]:
    """Return the fields that determine examples and labels."""
    return recipe.data, recipe.source, recipe.task, recipe.target


def _weights(recipe: Recipe) -> tuple[str, int | None]:
    """Return the fields that determine the weights: their name, and the seed if they are random."""
    preset = None if recipe.strategy == AUTO else named(recipe).preset
    drawn = preset is not None and preset.random_weights
    name, _, weights = recipe.backbone.partition("@")
    return (name if drawn else recipe.backbone), recipe.seed if drawn or weights == "random" else None


@dataclass(frozen=True, kw_only=True)
class Named:
    """A strategy as named in a recipe."""

    name: str
    """Name of the strategy."""
    preset: Preset | None
    """The preset, if the recipe names one."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A recipe resolved for a backbone."""

    named: Named
    """Strategy and preset."""
    strategy: Strategy
    """The strategy."""
    options: Any
    """An instance of its `Options`."""
    cut: str
    """The cut."""
    views: int
    """Stored views per example at the cut; 0: a new view every epoch."""
    dtype: str
    """Data type of stored activations at the cut."""
    on_device: bool = False
    """Whether augmentation runs on the device."""

    @property
    def is_probe(self) -> bool:
        """Whether this is the linear probe itself, to which other models are compared."""
        return self.named.name == "probe"

    @property
    def validates(self) -> bool:
        """Whether the strategy uses validation examples for early stopping; solved heads do not."""
        return not self.strategy.solved


def named(recipe: Recipe) -> Named:
    """Return the strategy or preset of that name, without importing others.

    Raises:
        UnknownName: there is none.
        BadRequest: the strategy is `auto`, and no advice was taken yet.
    """
    if recipe.strategy == AUTO:
        raise BadRequest("`auto` is resolved to a strategy only when a model is fitted.",
                         fix="use regraft fit DATA --strategy auto, or name a strategy.")  # fmt: skip
    (facts,) = strategies(recipe.strategy)
    return Named(name=facts.name, preset=STRATEGIES.get(facts.name).presets.get(recipe.strategy))


def backbone_spec(recipe: Recipe) -> str:
    """Return the backbone's name, with random weights if the preset requires them."""
    if recipe.strategy == AUTO:
        if recipe.cut:
            raise BadRequest("`auto` also chooses the cut.", fix="leave out --cut, or name a strategy.")
        return recipe.backbone
    strategy = named(recipe)
    if strategy.preset is None or not strategy.preset.random_weights:
        return recipe.backbone
    name, at, weights = recipe.backbone.partition("@")
    if recipe.backbone.startswith("bundle:") or (at and weights.startswith(("file:", "hf:"))):
        raise BadRequest(
            f"`{recipe.strategy}` starts from random weights, but {recipe.backbone!r} specifies trained ones.",
            fix="use random weights, for example googlenet:torchvision@random.",
        )
    return f"{name}@random"


def options_of(recipe: Recipe) -> Any:
    """Return the strategy's `Options` with the values of preset and recipe.

    Raises:
        BadRecipe: an option does not exist or has the wrong type.
    """
    strategy = named(recipe)
    given = {**(strategy.preset.options if strategy.preset else {}), **recipe.options}
    return built(STRATEGIES.get(strategy.name).Options, given, where="options")


def resolve(recipe: Recipe, card: "Card") -> Resolved:
    """Fill in what the recipe leaves to the preset and the backbone.

    Raises:
        UnknownName: there is no such augmentation.
        BadRecipe: an option of strategy or augmentation does not exist or is out of range, or the number of views is
            invalid.
        MissingExtra: the strategy needs a package that is not installed.
        BadRequest: a solved head at another cut than `output`, or an inner cut of a backbone without one.
        UnknownCut: the backbone has no such cut.
    """
    strategy, options = named(recipe), options_of(recipe)
    entry, preset = STRATEGIES.get(strategy.name), strategy.preset
    entry.check(options)
    augmentation = _augmentation(recipe, card)
    wanted = preset.cut if preset else None
    cut = recipe.cut or wanted or card.partial_cut
    if not cut:
        raise BadRequest(
            f"{card.family}:{card.variant} cannot be cut inside, which `{recipe.strategy}` requires; its cuts are "
            f"{', '.join(card.cuts)}.",
            fix="use --strategy probe or full, or another backbone.",
        )
    cut = card.cut(cut)
    if entry.solved and cut != "output":
        raise BadRequest(
            f"`{recipe.strategy}` trains only the head, so its cut must be `output`; got {cut!r}.",
            fix=f"leave out --cut, or use --strategy partial --cut {cut}.",
        )
    views = recipe.views if recipe.views >= 0 else (preset.views if preset else 4)
    if recipe.views < 0 and cut not in ("input", "output") and views == 0:
        views = 4
    if views > 1 and not MODALITIES.get(card.modality).varies(augmentation, card.preparation):
        views = 1  # all of them would be the plain one
    if recipe.views < -1 or (entry.solved and views == 0):
        raise BadRecipe(
            f"views is {recipe.views}; it must be 1 or more for `probe` and `extend`, 0 (new views every epoch) or "
            f"more for others.",
            fix="leave out views to use the default.",
        )
    on_device = getattr(augmentation, "on_device", False)
    if on_device and (views or cut != "input"):
        raise BadRecipe(
            f"augment.on_device is true, but the cut is {cut!r} with {views} stored views; only inputs that are "
            "redrawn every epoch can be augmented on the device.",
            fix="use --strategy full, scratch or pretrain, or --cut input --views 0; or leave out augment.on_device.",
        )
    dtype = ("float16" if cut not in ("input", "output") else "float32") if recipe.dtype == "auto" else recipe.dtype
    return Resolved(
        named=strategy, strategy=entry, options=options, cut=cut, views=views, dtype=dtype, on_device=on_device
    )


def open_for(recipe: Recipe, spec: str) -> "Opening":
    """Open the network `spec` for the channels, input size and seed of a recipe."""
    from regraft.backbones.opening import open_for_channels

    return open_for_channels(spec, channels=recipe.channels, input_px=recipe.input_px or None, seed=recipe.seed)


def suited(recipe: Recipe, dataset: "Dataset", backbone: "Backbone", reads: "Reads | None" = None) -> "Backbone":
    """Adapt the network to these examples: unchanged if the modality matches, else with a preparation of their modality
    that yields the same records; as the task `reads` them; with the fields of the recipe's [prepare].

    Raises:
        BadData: it cannot take the examples.
        BadRequest: it predicts nothing of its input itself, as the task asks.
        BadRecipe: a field of [prepare] is unknown, of the wrong type or out of range.
    """
    card, modality = backbone.card, dataset.reads
    if card.modality != modality.name:
        bridged = modality.bridged(card)
        if bridged is None:
            from regraft.backbones.backbone import BACKBONES

            families = map(BACKBONES.get, BACKBONES)
            able = [
                one for one in families if one.narrowed is None and one.card(one.variants[0]).modality == modality.name
            ]
            names = "".join(f" {one.name}@{next(iter(one.published), 'random')}," for one in able)
            raise BadData(
                f"{dataset.root} contains {modality.many}, but {card.name} takes {card.modality} data.",
                fix=f"choose another backbone:{names} or another one listed by `regraft backbones`.",
            )
        card = bridged
    prepared = modality.whole(card.preparation) if reads and reads.whole else card.preparation
    prepared = modality.itself(prepared, reads.itself if reads else "")
    card = card if prepared is card.preparation else replace(card, preparation=prepared)
    if recipe.prepare:
        known = {one.name: getattr(card.preparation, one.name) for one in fields(card.preparation)}
        card = replace(card, preparation=built(type(card.preparation), {**known, **recipe.prepare}, where="prepare"))
    shaped = modality.shaped(card, dataset.examples[0].contents)
    if shaped.config != card.config:  # so far the network was drawn for no shape
        from regraft.backbones.convert import drawn

        return drawn(backbone.family, shaped, recipe.seed)
    return backbone if shaped is backbone.card else replace(backbone, card=shaped)


def _augmentation(recipe: Recipe, card: "Card") -> Any:
    """Return the augmentation for the network's modality, or for one that it can be adapted to.

    An unknown name or field raises here, before the data are read.
    """
    own = MODALITIES.get(card.modality)
    try:
        return own.augmentation(recipe.augmentation, recipe.augment)
    except BadRequest:
        for name in MODALITIES:
            if name != own.name and MODALITIES.get(name).bridged(card) is not None:
                with suppress(BadRequest):
                    return MODALITIES.get(name).augmentation(recipe.augmentation, recipe.augment)
        raise


def check_asked(resolved: Resolved, backbone: "Backbone", task: "Task") -> None:
    """Reject, before anything is stored, what this network, cut or task does not support.

    Raises:
        BadRecipe: an option does not apply to this task.
        UnknownName: there is no such regulariser.
        BadRequest: the combination is not supported.
    """
    if task.taught and not resolved.strategy.needs(resolved.options).others:
        raise BadRequest(
            f"The targets of a {task.kind} task come from a teacher, but the strategy {resolved.named.name} has none.",
            fix="use --strategy distill --set options.teacher=NAME, or labelled data and another task.",
        )
    asked = Asked(backbone=backbone, cut=resolved.cut, task=task, num_views=resolved.views or None)
    resolved.strategy.check_asked(resolved.options, asked)


def filled_in(recipe: Recipe, resolved: Resolved, card: "Card") -> Recipe:
    """Return the recipe with every default written out."""
    return replace(
        recipe,
        cut=resolved.cut,
        views=resolved.views,
        input_px=max(card.input_px, default=0),
        channels=card.channels,
        options=asdict(resolved.options),
    )


def check_seen(seen: Seen, backbone: "Backbone", dataset: "Dataset") -> None:
    """Reject weights or data other than those that a recipe was run on.

    Raises:
        BundleError: the weights differ.
        RunError: the data differ.
    """
    if seen.backbone and seen.backbone != backbone.digest():
        raise BundleError(
            f"The recipe was run with backbone weights {seen.backbone[:12]}…, but {backbone.card.name} now has "
            f"{backbone.digest()[:12]}….",
            fix="use the same weights, or delete `backbone` under [seen] to run it with these.",
        )
    if seen.data and seen.data != dataset.fingerprint:
        raise RunError(
            f"The recipe was run on data with fingerprint {seen.data[:12]}…, but {dataset.root} has "
            f"{dataset.fingerprint[:12]}….",
            fix="use the same data, or delete `data` under [seen] to run it on these.",
        )
