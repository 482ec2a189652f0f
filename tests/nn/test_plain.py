"""The networks that GoogLeNet is compared with, against torchvision's."""

import pytest
import torch
from torch import nn

from regraft.nn.inception import BATCH_NORM_EPS
from regraft.nn.plain import chain, dense_top, residual_stages
from regraft.nn.torchvision import torchvision_models


def whole(stages: dict[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(*stages.values())


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_residual_network_at_width_one_is_resnet_18() -> None:
    torch.manual_seed(0)
    theirs = torchvision_models().resnet18(weights=None)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = BATCH_NORM_EPS
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
    theirs.fc = nn.Identity()
    ours = whole(residual_stages(1.0, 1.0)[0])
    tensors = list(theirs.state_dict().values())
    assert len(tensors) == len(ours.state_dict())
    ours.load_state_dict(dict(zip(ours.state_dict(), tensors, strict=True)))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = theirs.eval()(x), ours.eval()(x).mean(dim=(2, 3))
    assert count(ours) == count(theirs)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_vgg_chain_at_width_one_has_vgg_16s_parameters_but_for_biases_that_batch_norm_makes_idle() -> None:
    theirs = torchvision_models().vgg16_bn(weights=None)
    idle = sum(module.out_channels for module in theirs.features.modules() if isinstance(module, nn.Conv2d))
    stages, width = chain("vgg", 1.0, 1.0, 224)
    convolutions = whole({name: stage for name, stage in stages.items() if name.startswith("conv")})
    assert count(convolutions) == count(theirs.features) - idle
    assert width == 4096
    assert count(stages["fc6"]) == count(theirs.classifier[0])
    assert count(stages["fc7"]) == count(theirs.classifier[3])


@pytest.mark.parametrize("name", ["alexnet", "vgg"])
@pytest.mark.parametrize("input_px", [32, 64])
def test_a_chain_leaves_a_vector_of_the_length_it_says(name: str, input_px: int) -> None:
    stages, width = chain(name, 0.1, 0.1, input_px)
    assert whole(stages).eval()(torch.randn(2, 3, input_px, input_px)).shape == (2, width)


def test_a_top_of_width_zero_is_the_grid_itself() -> None:
    stages, width = dense_top(5, (2, 3), 0)
    x = torch.randn(4, 5, 2, 3)
    assert width == 30
    assert torch.equal(whole(stages)(x), x.reshape(4, 30))
