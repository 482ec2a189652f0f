"""Show: a recipe as TOML with every default filled in, each field under its sentence."""

import re
from collections.abc import Iterator, Mapping
from textwrap import wrap

from regraft.backbones.opening import expected_card
from regraft.contracts.strategy import STRATEGIES
from regraft.recipe import Recipe, write_recipe
from regraft.workbench.recipes import backbone_spec, filled_in, resolve
from regraft.workbench.strategies import fields_of, recipe_fields, tree_of, tree_of_module

WIDTH = 110
"""Comments are broken at so many characters."""
_SECTION = re.compile(r"\[([\w.]+)\]")


def show(recipe: Recipe) -> str:
    """The recipe as `fit` would run it. It can be written to a file, changed, and run.

    It is filled in by what fills it in for `fit`. Nothing is fetched, and the data are not opened: `task = "auto"`
    stays, and of weights on the hub that are not listed here the architecture's own facts are shown.

    Raises:
        UnknownName: the backbone, its variant or weights, or the strategy.
        UnknownCut: the backbone has no such cut.
        BadRecipe: an option that the strategy does not have, or of the wrong kind; of the augmentation as well.
        BundleError: the backbone is a model that cannot be read.
    """
    card = expected_card(backbone_spec(recipe), channels=recipe.channels, side=recipe.input_px or None)
    resolved = resolve(recipe, card)
    full = filled_in(recipe, resolved, card)
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
