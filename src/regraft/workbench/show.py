"""Show: print a recipe as TOML with all defaults filled in and every field documented."""

import re
from collections.abc import Iterator, Mapping
from textwrap import wrap

from regraft.backbones.opening import expected_card
from regraft.contracts.strategy import STRATEGIES
from regraft.recipe import Recipe, write_recipe
from regraft.workbench.recipes import backbone_spec, filled_in, resolve
from regraft.workbench.strategies import fields_of, recipe_fields, tree_of, tree_of_module

WIDTH = 110
"""Line width of comments."""
_SECTION = re.compile(r"\[([\w.]+)\]")


def show(recipe: Recipe) -> str:
    """Return the recipe as `fit` would run it, as TOML that can be edited and run.

    It is resolved by the same code as for `fit`. Nothing is downloaded, and the data are not opened: `task = "auto"`
    remains, and for weights on the hub that are not listed here the architecture's defaults are shown.

    Raises:
        UnknownName: there is no such backbone, variant, weights or strategy.
        UnknownCut: the backbone has no such cut.
        BadRecipe: an option of strategy or augmentation does not exist or has the wrong type.
        BundleError: the backbone is a saved model that cannot be read.
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
    """Yield the lines of `text`, each setting preceded by its description. A setting is one line."""
    section = ""
    for line in text.splitlines():
        if found := _SECTION.fullmatch(line):
            section = f"{found[1]}."
        sentence = sentences.get(section + line.partition(" = ")[0], "")
        yield from wrap(sentence, WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield line
