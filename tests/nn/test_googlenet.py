"""GoogLeNet against torchvision's own, and its variants against the paper's figures."""

import copy
import io
from typing import Any

import jaxtyping
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from regraft.errors import BadRequest, UnknownName
from regraft.nn.googlenet import FILTERS, VARIANTS, GoogLeNet, GoogLeNetOutputs, variant_named
from regraft.nn.inception import ResponseNorm
from regraft.nn.initialise import initialise
from regraft.nn.torchvision import torchvision_models


def theirs(**options: Any) -> nn.Module:
    """torchvision's network with a spread-out random state, running statistics included."""
    torch.manual_seed(0)
    net = torchvision_models().GoogLeNet(num_classes=7, init_weights=False, **options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def small(variant: str, **options: Any) -> GoogLeNet:
    torch.manual_seed(0)
    return GoogLeNet(variant=variant_named(variant), num_classes=5, width=0.25, **options)


def photos(side: int = 64, n: int = 2) -> torch.Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("transform_input", "side"), [(False, 64), (True, 75)])
def test_evaluation_gives_torchvisions_logits(transform_input: bool, side: int) -> None:
    original = theirs(aux_logits=False, transform_input=transform_input).eval()
    net = GoogLeNet(variant=variant_named("torchvision"), num_classes=7, transform_input=transform_input).eval()
    net.load_state_dict(original.state_dict(), strict=True)
    with torch.inference_mode():
        torch.testing.assert_close(net(photos(side)), original(photos(side)), rtol=1e-5, atol=1e-5)


def test_training_gives_torchvisions_logits_side_logits_and_statistics() -> None:
    original = theirs(aux_logits=True, dropout=0.0, dropout_aux=0.0).train()
    net = GoogLeNet(variant=variant_named("torchvision"), num_classes=7, side_heads=True, dropout=0.0).train()
    for head in net.side_heads_by_stage().values():
        head.get_submodule("dropout").p = 0.0
    net.load_state_dict(original.state_dict(), strict=True)
    ours, expected = net(photos()), original(photos())
    assert isinstance(ours, GoogLeNetOutputs)
    assert ours._fields == expected._fields
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    for name, value in original.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=1e-5, atol=1e-5)


def test_training_gives_torchvisions_gradients() -> None:
    original = theirs(aux_logits=False, dropout=0.0).train()
    net = GoogLeNet(variant=variant_named("torchvision"), num_classes=7, dropout=0.0).train()
    net.load_state_dict(original.state_dict())
    for each in (original, net):
        each(photos()).logsumexp(1).sum().backward()
    for name, parameter in original.named_parameters():
        torch.testing.assert_close(net.get_parameter(name).grad, parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("transform_input", [False, True])
def test_the_stages_in_a_row_are_the_network(variant: str, transform_input: bool) -> None:
    net = small(variant, transform_input=transform_input).eval()
    stages = net.stages()
    assert list(stages) == ["stem", *FILTERS]
    with torch.inference_mode():
        x = photos()
        for stage in stages.values():
            x = stage(x)
        torch.testing.assert_close(net.fc(x.mean((2, 3))), net(photos()), rtol=1e-5, atol=1e-6)


def test_the_stages_hold_the_networks_own_parameters_each_once() -> None:
    net = small("paper")
    held = [id(p) for stage in net.stages().values() for p in stage.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for name, p in net.named_parameters() if not name.startswith("fc.")}


def test_a_pool_belongs_to_the_stage_before_it() -> None:
    x = torch.randn(1, 3, 224, 224)
    sides = {}
    for name, stage in small("bn").eval().stages().items():
        x = stage(x)
        sides[name] = x.shape[-1]
    assert sides == dict(zip(["stem", *FILTERS], [28, 28, 14, 14, 14, 14, 14, 7, 7, 7], strict=True))


def test_side_heads_are_where_the_paper_has_them_and_silent_in_evaluation() -> None:
    net = small("paper", side_heads=True)
    assert net.side_heads_by_stage() == {"4a": net.aux1, "4d": net.aux2}
    assert small("paper").side_heads_by_stage() == {}
    assert isinstance(net.eval()(photos()), torch.Tensor)


def test_a_fresh_side_head_takes_its_stage_and_gives_as_many_outputs_as_asked() -> None:
    net = small("torchvision").train()
    x = photos()
    for name, stage in net.stages().items():
        x = stage(x)
        if name in ("4a", "4d"):
            assert net.new_side_head(name, 3)(x).shape == (2, 3)
    with pytest.raises(UnknownName, match="4b"):
        net.new_side_head("4b", 3)


def test_the_papers_side_head_pools_by_windows_of_five_where_they_fit() -> None:
    """On 14 x 14 windows of 5 at stride 3 leave out nothing and overlap; adaptive ones are 4 or 5 wide."""
    head = small("paper").new_side_head("4a", 3).eval()
    grid = torch.randn(1, head.conv.conv.in_channels, 14, 14)
    expected = head.fc2(torch.relu(head.fc1(head.conv(nn.AvgPool2d(5, 3)(grid)).flatten(1))))
    torch.testing.assert_close(head(grid), expected)
    head.window = False
    assert not torch.allclose(head(grid), expected)
    assert head(grid[..., :2, :2]).shape == (1, 3)


def test_response_normalisation_is_torchs_own() -> None:
    x = 100 * torch.randn(2, 7, 3, 4)
    expected = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)(x)
    torch.testing.assert_close(ResponseNorm()(x), expected)


def test_naive_modules_give_their_filters_beside_all_channels_of_their_input() -> None:
    """Filters from the rows of the paper's table 1, without reductions and projections."""
    with torch.device("meta"):
        net = GoogLeNet(variant=variant_named("naive"), num_classes=2).eval()
        x, channels = torch.zeros(1, 3, 32, 32), {}
        for name, stage in net.stages().items():
            x = stage(x)
            channels[name] = x.shape[1]
    assert channels == {
        "stem": 192, "3a": 416, "3b": 832, "4a": 1280, "4b": 1728, "4c": 2176, "4d": 2640, "4e": 3344, "5a": 4048,
        "5b": 4944,
    }  # fmt: skip
    assert net.fc.in_features == 4944


def test_the_pool_branch_of_a_naive_module_passes_the_pooled_input_through() -> None:
    module = small("naive").stages()["5b"].eval()
    channels = module.get_submodule("branch1.conv").in_channels
    x = torch.randn(1, channels, 5, 5)
    pooled = nn.functional.max_pool2d(x, 3, stride=1, padding=1)
    torch.testing.assert_close(module(x)[:, -channels:], pooled, rtol=0, atol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_quarter_of_the_width_trains_on_32_by_32(variant: str) -> None:
    net = small(variant, side_heads=True).train()
    targets = torch.tensor([0, 1, 2, 3])
    outputs = net(photos(32, n=4))
    sum(nn.functional.cross_entropy(each, targets) for each in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert net.conv3.conv.out_channels == 48


@pytest.mark.parametrize("variant", ["paper", "bn"])
def test_a_signal_keeps_its_scale_through_an_untrained_network(variant: str) -> None:
    net = small(variant).eval()
    x = photos(96)
    for stage in net.stages().values():
        x = stage(x)
    assert 0.1 < x.std() < 30


def test_other_numbers_of_channels_are_taken_and_refuse_the_remapping() -> None:
    net = small("bn", in_channels=1).eval()
    assert net(torch.randn(1, 1, 32, 32)).shape == (1, 5)
    with pytest.raises(BadRequest, match="3 channels"):
        small("bn", in_channels=1, transform_input=True)


@pytest.mark.parametrize(("state", "net"), [("torchvision", "bn"), ("bn", "paper"), ("paper", "bn"), ("bn", "naive")])
def test_the_state_of_another_variant_is_refused(state: str, net: str) -> None:
    with pytest.raises(RuntimeError, match=r"Missing key|size mismatch"):
        small(net).load_state_dict(small(state).state_dict(), strict=True)


def test_an_unknown_variant_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'torchvision'"):
        variant_named("torchvison")


def test_one_seed_gives_one_network() -> None:
    first, second, third = small("paper"), small("paper"), small("paper")
    initialise(first, torch.Generator().manual_seed(3))
    initialise(second, torch.Generator().manual_seed(3))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0)
    assert not torch.equal(first.fc.weight, third.fc.weight)


def test_a_copy_has_stages_of_its_own() -> None:
    net = small("bn")
    twin = copy.deepcopy(net)
    assert twin.stages()["5a"] is twin.get_submodule("inception5a")
    assert twin.stages()["5a"] is not net.stages()["5a"]


@pytest.mark.parametrize(("variant", "side"), [("paper", 75), ("torchvision", 64)])
def test_onnx_gives_the_same_logits(variant: str, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # while tracing, sizes are no plain numbers
    net = small(variant, transform_input=True).eval()
    file = io.BytesIO()
    torch.onnx.export(net, (photos(side),), file, dynamo=False, input_names=["x"], opset_version=17)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": photos(side).numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(logits, net(photos(side)).numpy(), rtol=1e-4, atol=1e-6)
