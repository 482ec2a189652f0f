"""The spike that the contract came from: three families cut in the middle equal the original's own forward."""

import pytest
import torch

from regraft.activations.export import Prefix
from regraft.backbones.backbone import BACKBONES
from regraft.contracts.backbone import Network
from regraft.errors import UnknownCut
from toys import ToyEncoder, toy_network


def built(name, variant, input_px):
    torch.manual_seed(0)
    family = BACKBONES.get(name)
    card = family.card(variant).with_input(input_px)
    made = family.build(card)
    made.original.eval()
    return made.network.eval(), made.original


def through_the_store(network: Network, inputs: dict, cut: str) -> torch.Tensor:
    """Stage, store, tail: the state leaves as arrays and comes back, shared tensors without an example axis."""
    names = tuple(inputs)
    prefix = Prefix(network, [cut], view="pooled", inputs=names)
    with torch.no_grad():
        flat = prefix(*inputs.values())
        stored = {name.partition("/")[2]: t.numpy() for name, t in zip(prefix.outputs, flat, strict=True)}
        for name, array in stored.items():
            rows = 1 if name in network.shared else len(next(iter(inputs.values())))
            assert array.shape[0] == rows
        back = {name: torch.from_numpy(array) for name, array in stored.items()}
        return network.source_head(network.readouts(network.run(back, after=cut))["pooled"])


@pytest.mark.parametrize("cut", ["input", "stem", "3b", "4a", "4e", "5a"])
def test_googlenet_cut_in_the_middle_equals_its_own_forward(cut: str) -> None:
    network, original = built("googlenet", "torchvision", 64)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = original(network.start({"pixels": pixels})["hidden"])
    torch.testing.assert_close(through_the_store(network, {"pixels": pixels}, cut), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cut", ["embeddings", "layer.5", "layer.10"])
def test_a_vision_transformer_keeps_its_class_token_in_the_state(cut: str) -> None:
    network, original = built("vit_b_16", "torchvision", 32)
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = original(network.start({"pixels": pixels})["hidden"])
    torch.testing.assert_close(through_the_store(network, {"pixels": pixels}, cut), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cut", ["input", "embeddings", "layer.0", "layer.1"])
def test_an_encoder_keeps_its_mask_and_its_shared_position_bias(cut: str) -> None:
    torch.manual_seed(0)
    original = ToyEncoder().eval()
    network = toy_network(original).eval()
    ids = torch.randint(0, 50, (3, 9))
    mask = torch.arange(9)[None] < torch.tensor([9, 4, 6])[:, None]
    with torch.no_grad():
        expected = original(ids, mask)
    torch.testing.assert_close(through_the_store(network, {"ids": ids, "mask": mask}, cut), expected)


def test_what_is_cheap_to_make_again_is_not_stored() -> None:
    network = toy_network(ToyEncoder()).eval()
    state = network.run({"ids": torch.zeros(2, 5, dtype=torch.long), "mask": torch.ones(2, 5, dtype=torch.bool)},
                        upto="layer.0")  # fmt: skip
    assert set(state) == {"hidden", "mask", "position_bias"}


def test_an_unknown_cut_names_those_that_exist() -> None:
    network = toy_network(ToyEncoder())
    with pytest.raises(UnknownCut, match=r"embeddings, layer.0, layer.1, output"):
        network.run({}, upto="layer.9")
