"""Networks of transformers cut into stages equal the library's own forward, padded batches included."""

import numpy as np
import pytest
import torch

from problems import opened
from regraft.activations.export import Prefix
from regraft.backbones.backbone import Backbone
from regraft.contracts.family import Card
from texts import CONFIGS, folder_of, original

pytest.importorskip("transformers")
LENGTHS = (11, 4, 7)


@pytest.fixture(scope="module", params=CONFIGS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backbone(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return opened(f"transformers:{folder_of(kind, tmp_path_factory.mktemp(kind))}@pretrained")


def padded(kind: str) -> dict[str, torch.Tensor]:
    """A batch of three rows, padded with zeros as the store does it."""
    ids = torch.from_numpy(np.random.default_rng(0).integers(4, 20, (3, 11))).int()
    mask = torch.arange(11)[None] < torch.tensor(LENGTHS)[:, None]
    types = {"types": (torch.arange(11)[None] > 3).int() * mask.int()} if kind in ("bert", "albert") else {}
    return {"ids": ids * mask, "mask": mask, **types}


def of_the_library(kind: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    net = original(kind)
    pad = CONFIGS[kind].get("pad_token_id", 0)
    types = {"token_type_ids": inputs["types"].long()} if "types" in inputs else {}
    ids = inputs["ids"].long().masked_fill(~inputs["mask"], pad)
    found: torch.Tensor = net(input_ids=ids, attention_mask=inputs["mask"].long(), **types).last_hidden_state
    return found


def test_every_cut_gives_the_librarys_tokens_through_stored_arrays(kind: str, backbone: Backbone) -> None:
    inputs, network = padded(kind), backbone.network
    with torch.no_grad():
        expected = of_the_library(kind, inputs)[inputs["mask"]]
        assert expected.std() > 0.01
        for cut in backbone.cuts:
            state = network.run(inputs, upto=cut)
            stored = {name: torch.from_numpy(tensor.numpy().copy()) for name, tensor in state.items()}
            tokens = network.readouts(network.run(stored, after=cut))["tokens"]
            torch.testing.assert_close(tokens[inputs["mask"]], expected, rtol=1e-4, atol=1e-5)


def test_a_row_alone_and_in_wider_padding_gives_the_same(kind: str, backbone: Backbone) -> None:
    inputs = padded(kind)
    wide = {name: torch.nn.functional.pad(tensor, (0, 5)) for name, tensor in inputs.items()}
    alone = {name: tensor[1:2, : LENGTHS[1]] for name, tensor in inputs.items()}
    with torch.no_grad():
        found = [backbone.network.readouts(backbone.network.run(one))["pooled"] for one in (inputs, wide, alone)]
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[2], found[0][1:2], rtol=1e-4, atol=1e-5)


def test_the_card_says_what_the_network_is(kind: str, backbone: Backbone) -> None:
    card = backbone.card
    assert card.stages == ("embeddings", "layer.0", "layer.1", "layer.2")
    assert (card.width, card.partial_cut, card.modality) == (32, "layer.1", "text")
    assert card.preparation.max_tokens == {"roberta": 62, "t5": 512, "deberta-v2": 512, "modernbert": 512}.get(kind, 64)
    assert Card.from_json(card.to_json()) == card
    assert tuple(backbone.network.stages) == card.stages


def test_what_layers_share_is_stored_once(kind: str, backbone: Backbone) -> None:
    prefix = Prefix(backbone.network, ["layer.0"], view="pooled", inputs=tuple(padded(kind)))
    with torch.no_grad():
        prefix(*padded(kind).values())
    names = {one.rpartition("/")[2] for one in prefix.outputs}
    assert names == {"hidden", "mask"} | {"deberta-v2": {"relative"}, "t5": {"bias"}}.get(kind, set())
