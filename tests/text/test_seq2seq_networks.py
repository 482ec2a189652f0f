"""Encoders with a decoder, cut into stages, equal the library's own forward and its own generate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from problems import opened
from regraft.backbones.backbone import Backbone
from texts import PAIRS, pair_folder, pair_network

pytest.importorskip("transformers")
SOURCES, ANSWERS = (9, 3, 6), (4, 8, 5)
TOLD = {"num_beams": 1, "max_new_tokens": 10}


@pytest.fixture(scope="module", params=PAIRS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backbone(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return opened(f"seq2seq:{pair_folder(kind, tmp_path_factory.mktemp(kind))}@pretrained")


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    """Three rows; in the second the answer is longer than the source."""
    random = np.random.default_rng(0)
    places = torch.arange(9)[None]
    mask = places < torch.tensor(SOURCES)[:, None]
    shown = places < torch.tensor(ANSWERS)[:, None]
    ids, decoder = (torch.from_numpy(random.integers(4, 20, (3, 9))).int() for _ in range(2))
    decoder[:, 0] = 0
    return {"ids": ids * mask, "mask": mask, "decoder": decoder * shown}


def test_every_cut_gives_the_librarys_logits_through_stored_arrays(
    kind: str, backbone: Backbone, inputs: dict[str, torch.Tensor]
) -> None:
    network, net = backbone.network, pair_network(kind)
    assert network.source_head is not None
    with torch.no_grad():
        expected = net(
            input_ids=inputs["ids"].long(), attention_mask=inputs["mask"].long(),
            decoder_input_ids=inputs["decoder"].long(),
        ).logits  # fmt: skip
        for cut in backbone.cuts:
            state = network.run(inputs, upto=cut)
            stored = {name: torch.from_numpy(tensor.numpy().copy()) for name, tensor in state.items()}
            found = network.source_head(network.readouts(network.run(stored, after=cut))["tokens"])
            for row, length in enumerate(ANSWERS):  # what follows is padding
                torch.testing.assert_close(found[row, :length], expected[row, :length], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_every_cut_generates_what_the_library_generates(
    kind: str, backbone: Backbone, inputs: dict[str, torch.Tensor], beams: int
) -> None:
    network, net = backbone.network, pair_network(kind)
    assert network.generate is not None
    assert network.source_head is not None
    told = {**TOLD, "num_beams": beams}
    net.generation_config.forced_eos_token_id = None
    with torch.no_grad():
        expected: Any = net.generate(
            input_ids=inputs["ids"].long(), attention_mask=inputs["mask"].long(), do_sample=False,
            suppress_tokens=[0], **told,
        )  # fmt: skip
        for cut in backbone.cuts:
            keep = backbone.card.generates_from if cut == "output" else ()
            found = network.generate(network, network.run(inputs, upto=cut, keep=keep), cut, network.source_head, told)
            assert found.tolist() == expected[:, 1:].tolist()


def test_the_output_layer_is_untied_and_the_frozen_words_are_stored(
    kind: str, backbone: Backbone, tmp_path: Path
) -> None:
    network = backbone.fresh_network()
    assert network.source_head is not None
    words = dict(network.stages["embeddings"].named_parameters())["parts.words.weight"]
    before = words.detach().clone()
    torch.testing.assert_close(network.source_head.weight, words)
    with torch.no_grad():
        network.source_head.weight.add_(1.0)  # type: ignore[operator]
    torch.testing.assert_close(words, before)
    assert not [name for name, _ in network.stages["embeddings"].named_parameters() if "places" in name]
