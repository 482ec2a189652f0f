"""Show: a recipe as TOML with every default filled in, each field under its sentence."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from textwrap import wrap

from regraft.backbones.opening import named_card
from regraft.contracts.strategy import STRATEGIES
from regraft.errors import UnknownCut
from regraft.recipe import Recipe, write_recipe
from regraft.workbench.recipes import backbone_spec, filled_in, resolve
from regraft.workbench.strategies import fields_of, recipe_fields, tree_of, tree_of_module

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
    _, card = named_card(backbone_spec(recipe))
    card = card.with_input(recipe.input_px) if recipe.input_px else card
    resolved = resolve(recipe, card)
    if resolved.cut not in (*card.cuts, card.stages[-1]):
        raise UnknownCut(card.family, resolved.cut, card.cuts)
    full = filled_in(recipe, resolved, card)
    full = replace(full, channels=recipe.channels or full.channels)
    augment = fields_of(tree_of_module("regraft.modalities.image.augment"), "Augmentation")
    options = fields_of(tree_of(STRATEGIES, resolved.named.name), "Options")
    sentences = {path: field.sentence for path, field in recipe_fields().items()}
    sentences |= {f"augment.{one.name}": one.sentence for one in augment}
    sentences |= {f"options.{one.name}": one.sentence for one in options}
    return "\n".join(_commented(write_recipe(full), sentences)) + "\n"


def _commented(text: str, sentences: Mapping[str, str]) -> Iterator[str]:
    """The lines of `text`, above each setting its sentence. A setting is one line."""
    section = ""
    for line in text.splitlines():
        if found := _SECTION.fullmatch(line):
            section = f"{found[1]}."
        sentence = sentences.get(section + line.partition(" = ")[0], "")
        yield from wrap(sentence, WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield line
