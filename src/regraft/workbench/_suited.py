"""A network and the examples of a session brought together: one made for another kind of data takes them too, where
their modality knows how."""

from collections.abc import Generator
from dataclasses import replace

from regraft.backbones.backbone import BACKBONES, Backbone
from regraft.errors import BadData
from regraft.recipe import built
from regraft.values import Event
from regraft.words import named
from regraft.workbench.session import Session


def suited(session: Session, backbone: Backbone) -> Generator[Event, None, Backbone]:
    """The network as it takes these examples: as it is, or where it was made for another kind of data, with a
    preparation of their modality that makes the same records; with the fields of the recipe's [prepare]. Says what is
    odd about the examples.

    Raises:
        BadData: it cannot take them.
        BadRecipe: a field of [prepare] is unknown, of the wrong kind or out of range.
    """
    card, modality = backbone.card, session.modality
    if card.modality != modality.name:
        bridged = modality.bridged(card)
        if bridged is None:
            families = {name: BACKBONES.get(name) for name in BACKBONES}
            able = [name for name, one in families.items() if one.card(one.variants[0]).modality == modality.name]
            raise BadData(
                f"{session.dataset.root} holds {modality.many}; {card.name} takes data of the kind {card.modality}.",
                fix=f"choose another backbone{f': {named(able)}' if able else ''} (`regraft backbones` lists them).",
            )
        card = bridged
    if session.recipe.prepare:
        fields = {**vars(card.preparation), **session.recipe.prepare}
        card = replace(card, preparation=built(type(card.preparation), fields, where="prepare"))
    yield from session.check(card)
    return backbone if card is backbone.card else replace(backbone, card=card)
