"""Show: a recipe as TOML with every default filled in, each field under its sentence."""

import re
from collections.abc import Iterator, Mapping
from textwrap import wrap

from regraft.backbones.named import named_card
from regraft.contracts.strategy import STRATEGIES
from regraft.errors import UnknownCut
from regraft.modalities.image.augment import Augmentation
from regraft.recipe import Decision, Recipe, Seen, Source, Target, write_recipe
from regraft.workbench._fields import Field, fields_of, tree_of, tree_of_module
from regraft.workbench._resolve import backbone_spec, filled_in, named, resolve

WIDTH = 110
"""Comments are broken at so many characters."""
_SECTION = re.compile(r"\[([\w.]+)\]")


def show(recipe: Recipe) -> str:
    """The recipe as `fit` would run it. It can be written to a file, changed, and run.

    Nothing is fetched: where weights decide (their variant's input size, say), the architecture's own facts are shown.

    Raises:
        UnknownName: the backbone, its variant or weights, or the strategy.
        UnknownCut: the backbone has no such cut.
        BadRecipe: an option that the strategy does not have, or of the wrong kind; of the augmentation as well.
        BundleError: the backbone is a model that cannot be read.
    """
    strategy = named(recipe)
    _, card = named_card(backbone_spec(recipe, strategy))
    card = card.with_input(recipe.input_px) if recipe.input_px else card
    resolved = resolve(recipe, strategy, card)
    if resolved.cut not in (*card.cuts, card.stages[-1]):
        raise UnknownCut(card.family, resolved.cut, card.cuts)
    full = filled_in(recipe, resolved, card)
    settings = tree_of_module("regraft.recipe")
    documented = {
        "": fields_of(settings, Recipe.__name__),
        "source": fields_of(settings, Source.__name__),
        "target": fields_of(settings, Target.__name__),
        "decision": fields_of(settings, Decision.__name__),
        "augment": fields_of(tree_of_module("regraft.modalities.image.augment"), Augmentation.__name__),
        "options": fields_of(tree_of(STRATEGIES, strategy.name), "Options"),
        "seen": fields_of(settings, Seen.__name__),
    }
    return "\n".join(_commented(write_recipe(full), documented)) + "\n"


def _commented(text: str, documented: Mapping[str, tuple[Field, ...]]) -> Iterator[str]:
    """The lines of `text`, above each setting its sentence. A setting is one line."""
    section = ""
    for line in text.splitlines():
        if found := _SECTION.fullmatch(line):
            section = found[1]
        name = line.partition(" = ")[0]
        for field in documented.get(section, ()):
            if field.name == name:
                yield from wrap(field.sentence, WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield line
