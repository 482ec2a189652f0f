"""The fixed pool is torch's adaptive one on every size, and can be exported where that one cannot."""

import io

import jaxtyping
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from regraft.errors import BadRequest
from regraft.nn.stages import FixedAveragePool, grid_after


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("output", [1, 2, 4, 5, 6, 7])
def test_every_grid_is_pooled_as_torch_pools_it(output: int) -> None:
    """From one cell, spread over the output, to several times the output's side; height and width differ."""
    for height in range(1, 24):
        grid, wanted = (height, 24 - height), (output, 8 - output)
        x = noise(2, 3, *grid)
        found = FixedAveragePool(grid, wanted)(x)
        torch.testing.assert_close(found, nn.AdaptiveAvgPool2d(wanted)(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("grid", [(6, 6), (2, 3), (9, 13)])
def test_gradients_are_those_of_torchs_pool(grid: tuple[int, int]) -> None:
    x, twin = (noise(2, 3, *grid).requires_grad_() for _ in range(2))
    FixedAveragePool(grid, (6, 6))(x).square().sum().backward()
    nn.AdaptiveAvgPool2d(6)(twin).square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-5, atol=1e-6)


def test_a_grid_of_the_outputs_size_passes_untouched() -> None:
    x = noise(1, 2, 7, 7)
    assert FixedAveragePool((7, 7), (7, 7))(x) is x


@pytest.mark.parametrize("grid", [(1, 1), (3, 4), (6, 6), (7, 7), (12, 12), (13, 9)])
def test_an_export_pools_the_same(grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # while tracing, sizes are no plain numbers
    file, x = io.BytesIO(), noise(3, 2, *grid)
    pool = FixedAveragePool(grid, (6, 6))
    rows = {"x": {0: "rows"}, "pooled": {0: "rows"}}
    torch.onnx.export(
        nn.Sequential(pool, nn.Flatten()), (x[:2],), file, dynamo=False, opset_version=17,
        input_names=["x"], output_names=["pooled"], dynamic_axes=rows,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, nn.AdaptiveAvgPool2d(6)(x).flatten(1).numpy(), rtol=0, atol=1e-6)


def test_torchs_own_pool_cannot_be_exported_so() -> None:
    """Why there is another: where the output does not divide the grid, tracing gives up."""
    with pytest.raises(torch.onnx.errors.SymbolicValueError, match="factor of input size"):
        torch.onnx.export(nn.AdaptiveAvgPool2d(6), (noise(2, 2, 13, 13),), io.BytesIO(), dynamo=False)


def test_a_grid_of_another_size_is_refused() -> None:
    with pytest.raises(BadRequest, match="7 x 7 grid; got 8 x 7"):
        FixedAveragePool((7, 7), (6, 6))(noise(1, 2, 8, 7))


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_the_grid_is_reckoned_as_it_comes_out(ceil_mode: bool) -> None:
    chain = nn.Sequential(
        nn.Conv2d(3, 4, (11, 5), stride=4, padding=(2, 0)),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1, ceil_mode=ceil_mode),
        nn.Sequential(nn.Conv2d(4, 5, 3, dilation=2), nn.BatchNorm2d(5)),
        nn.MaxPool2d(2, ceil_mode=ceil_mode),
    ).eval()
    for height in range(63, 90):
        found = chain(noise(1, 3, height, 153 - height)).shape
        assert grid_after(chain, (height, 153 - height)) == tuple(found[2:])
