"""Targets of a language model in a window: the next token at every position, or masked tokens.

Which tokens are masked depends only on the window and its view, so stored views differ like augmented ones, and the
plain view is always the same. Of the chosen tokens, 80 % are replaced by the mask token, 10 % by a random token, and
10 % are kept. If a text contains mask tokens to be filled in, no others are masked.

Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1 (different masks in every view: Liu et al. 2019,
arXiv:1907.11692, section 4.1). Letters: t tokens.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Int32

from regraft.contracts.modality import View
from regraft.errors import BadRequest
from regraft.identity import derive_seed, digest_bytes
from regraft.modalities.text.tokens import Preparation, Window

CONTEXT = 32
"""Number of tokens that a window of a causal model shares with the previous one, in which they are predicted. Our
choice."""
MASKED, RANDOM = 0.8, 0.9
"""Cumulative shares of hidden tokens that become the mask token, and a random one."""
MASKS = ("[MASK]", "<mask>")
"""Names of the mask token."""


def as_language(preparation: Preparation) -> Preparation:
    """Return the preparation for language modelling.

    Raises:
        BadRequest: the network does not predict tokens, or its tokenizer has no mask token.
    """
    if not preparation.predicts:
        raise BadRequest(
            "This network does not predict tokens, as a language task requires.",
            fix="use a language model: --backbone language:FOLDER@pretrained, or language:minilm_l6@package.",
        )
    if preparation.predicts == "masked" and preparation.number_of(*MASKS) is None:
        raise BadRequest(f"The tokenizer of this masked language model has no mask token ({' or '.join(MASKS)}).",
                         fix="save the tokenizer that the network was trained with.")  # fmt: skip
    return replace(preparation, language=True, overlap=CONTEXT if preparation.predicts == "next" else 0)


def posed(
    window: Window, preparation: Preparation, view: View | None
) -> tuple[Int32[np.ndarray, " t"], Int32[np.ndarray, " t"], int]:
    """Return the input tokens of the network; for each position 1 + the token to be predicted there, or 0 for none; and
    the bytes of the predicted tokens."""
    ids, truth = window.ids, np.zeros(len(window.ids), dtype=np.int32)
    if preparation.predicts == "next":
        truth[:-1] = np.where(window.fresh[1:], ids[1:] + 1, 0)
        return ids, truth, int(window.sizes[1:][window.fresh[1:]].sum())
    mask, places = preparation.number_of(*MASKS), np.flatnonzero(window.fresh)
    assert mask is not None, "as_language has seen to it"
    if mask in ids or not len(places):
        return ids, truth, 0
    seed, number = (view.seed, view.number) if view else (0, 0)
    random = np.random.default_rng(derive_seed(seed, "hidden", number, digest_bytes(ids.tobytes())))
    chosen = random.permutation(places)[: max(1, round(preparation.hidden * len(places)))]
    fate, others = random.random(len(chosen)), random.integers(preparation.vocabulary, size=len(chosen))
    given = ids.copy()
    given[chosen] = np.where(fate < MASKED, mask, np.where(fate < RANDOM, others, ids[chosen]))
    truth[chosen] = ids[chosen] + 1
    return given, truth, int(window.sizes[chosen].sum())
