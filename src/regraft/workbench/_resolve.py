"""A recipe with its names looked up: strategy, preset, options, cut, views. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from regraft.backbones.backbone import Backbone
from regraft.contracts.card import Card
from regraft.contracts.modality import MODALITIES
from regraft.contracts.strategy import STRATEGIES, Asked, Preset, Strategy
from regraft.contracts.task import Task
from regraft.errors import BadRecipe, BadRequest, UnknownName
from regraft.recipe import Recipe, built


@dataclass(frozen=True, kw_only=True)
class Named:
    """A strategy as the recipe names it."""

    name: str
    """The strategy's file."""
    preset: Preset | None
    """The preset, where the recipe names one."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What the recipe means for a certain backbone."""

    named: Named
    """Strategy and preset."""
    strategy: Strategy
    """The entry of its shelf."""
    options: Any
    """An instance of its `Options`."""
    cut: str
    """The cut."""
    views: int
    """Views per example at the cut; 0 is a new view every epoch."""
    dtype: str
    """How activations at the cut are kept."""
    on_device: bool = False
    """Whether views are made on the device."""

    @property
    def validates(self) -> bool:
        """Whether the strategy stops early on validation examples; a probe is solved to its optimum."""
        return self.named.name != "probe"


def presets() -> Mapping[str, tuple[str, Preset]]:
    """Every preset by name, with the strategy it belongs to."""
    found: dict[str, tuple[str, Preset]] = {}
    for name in STRATEGIES.names():
        for preset, value in STRATEGIES.get(name).presets.items():
            found[preset] = (name, value)
    return found


def named(recipe: Recipe) -> Named:
    """The strategy or preset of that name.

    Raises:
        UnknownName: there is neither.
    """
    known = presets()
    if recipe.strategy in known:
        name, preset = known[recipe.strategy]
        return Named(name=name, preset=preset)
    if recipe.strategy not in STRATEGIES.names():
        raise UnknownName("strategy", recipe.strategy, {*STRATEGIES.names(), *known})
    return Named(name=recipe.strategy, preset=None)


def backbone_spec(recipe: Recipe, strategy: Named) -> str:
    """The backbone's name, with random weights where the preset wants them."""
    if strategy.preset is None or not strategy.preset.random_weights:
        return recipe.backbone
    name, at, weights = recipe.backbone.partition("@")
    if recipe.backbone.startswith("bundle:") or (at and weights.startswith(("file:", "hf:"))):
        raise BadRequest(
            f"`{recipe.strategy}` draws its weights at random, but {recipe.backbone!r} names trained ones.",
            fix="name the architecture alone, for instance googlenet:torchvision@random.",
        )
    return f"{name}@random"


def resolve(recipe: Recipe, strategy: Named, card: Card) -> Resolved:
    """Fill in what the recipe leaves to the preset and to the backbone.

    Raises:
        UnknownName: there is no such augmentation.
        BadRecipe: an option that strategy or augmentation does not have or that is out of range, or views that make no
            sense.
        MissingExtra: the strategy needs a package that is not installed.
        BadRequest: a probe at another cut than `output`, or an inner cut where the backbone has none.
    """
    entry, preset = STRATEGIES.get(strategy.name), strategy.preset
    given = {**(preset.options if preset else {}), **recipe.options}
    options = built(entry.Options, given, where="options")
    entry.check(options)
    # A name or a field that does not exist ends the run here, before the data are read.
    augmentation = MODALITIES.get(card.modality).augmentation(recipe.augmentation, recipe.augment)
    wanted = preset.cut if preset else None
    cut = recipe.cut or wanted or card.partial_cut
    if not cut:
        raise BadRequest(
            f"{card.family}:{card.variant} cannot be cut inside, which `{recipe.strategy}` asks for; its cuts are "
            f"{', '.join(card.cuts)}.",
            fix="use --strategy probe or full, or another backbone.",
        )
    if strategy.name == "probe" and cut not in ("output", card.stages[-1]):
        raise BadRequest(
            f"A probe trains the head alone, so its cut is `output`; {cut!r} was asked for.",
            fix=f"leave --cut out, or use --strategy partial --cut {cut}.",
        )
    views = recipe.views if recipe.views >= 0 else (preset.views if preset else 4)
    if recipe.views < 0 and cut not in ("input", "output") and views == 0:
        views = 4
    if views > 1 and not augmentation.varies:
        views = 1  # all of them would be the plain one
    if recipe.views < -1 or (strategy.name == "probe" and views == 0):
        raise BadRecipe(
            f"views is {recipe.views}; a probe needs 1 or more, others 0 (new views every epoch) or more.",
            fix="leave views out for the default.",
        )
    on_device = getattr(augmentation, "on_device", False)
    if on_device and (views or cut != "input"):
        raise BadRecipe(
            f"augment.on_device is true, but the cut is {cut!r} with {views} views kept; only inputs that are made "
            "anew can be made on the device.",
            fix="--strategy full, scratch or pretrain, or --cut input --views 0; or leave augment.on_device out.",
        )
    dtype = ("float16" if cut not in ("input", "output") else "float32") if recipe.dtype == "auto" else recipe.dtype
    return Resolved(
        named=strategy, strategy=entry, options=options, cut=cut, views=views, dtype=dtype, on_device=on_device
    )


def check_asked(resolved: Resolved, backbone: Backbone, task: Task) -> None:
    """Refuse, before anything is stored, what cannot be had with this network, cut and task.

    Raises:
        BadRecipe: an option makes no sense for this task.
        UnknownName: there is no regulariser of that name.
        BadRequest: what is asked for cannot be had; the message says what.
    """
    asked = Asked(backbone=backbone, cut=resolved.cut, task=task, num_views=resolved.views or None)
    resolved.strategy.check_asked(resolved.options, asked)


def filled_in(recipe: Recipe, resolved: Resolved, card: Card) -> Recipe:
    """The recipe with every default written out."""
    return replace(
        recipe,
        cut=resolved.cut,
        views=resolved.views,
        input_px=max(card.input_px, default=0),
        channels=card.channels,
        options=asdict(resolved.options),
    )
