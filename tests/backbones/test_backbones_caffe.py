"""Caffe models: read as an independent encoder writes them, and run as Caffe would, which numpy computes here."""

import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from problems import opened
from regraft.backbones._caffe import read_caffemodel
from regraft.errors import WeightsError, WeightsMismatch

PX = 64
MODULES = {
    "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64), "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64), "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64), "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128), "5b": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip
"""Input channels, then filters of 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj: table 1 of the paper."""
Blobs = dict[str, list[np.ndarray]]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def chunk(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def blob(array: np.ndarray, *, kind: str = "new") -> bytes:
    """BlobProto: packed floats and a shape; `old` has four numbers instead; `double` other numbers."""
    if kind == "old":
        four = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(number(field, size) for field, size in enumerate(four, start=1))
    else:
        shape = chunk(7, chunk(1, b"".join(map(varint, array.shape))))
    if kind == "double":
        return shape + chunk(8, array.astype("<f8").tobytes())
    return shape + chunk(5, array.astype("<f4").tobytes())


def net_of(layers: Blobs, *, kind: str = "new") -> bytes:
    """NetParameter with fields that no reader of weights needs: name, phases, a diff."""
    old = kind == "old"
    out = chunk(1, b"GoogleNet")
    for name, arrays in layers.items():
        blobs = b"".join(chunk(6 if old else 7, blob(array, kind=kind)) for array in arrays)
        named = chunk(4, name.encode()) + number(5, 4) if old else chunk(1, name.encode()) + chunk(2, b"Convolution")
        out += chunk(2 if old else 100, named + chunk(2 if old else 3, b"bottom") + blobs)
    return out + number(5, 1)


def weights(side_heads: bool = True) -> Blobs:
    """Seeded weights of BVLC's GoogLeNet by its own layer names; scaled so that activations stay as large as inputs."""
    random, found = np.random.default_rng(0), Blobs()

    def add(name: str, outputs: int, inputs: int, kernel: int) -> None:
        scale = np.sqrt(2 / (inputs * kernel**2))
        weight = (random.standard_normal((outputs, inputs, kernel, kernel)) * scale).astype(np.float32)
        found[name] = [weight, random.standard_normal(outputs).astype(np.float32) * 0.1]

    add("conv1/7x7_s2", 64, 3, 7)
    add("conv2/3x3_reduce", 64, 64, 1)
    add("conv2/3x3", 192, 64, 3)
    for module, (inputs, one, three_in, three, five_in, five, pool) in MODULES.items():
        name = f"inception_{module}/"
        add(f"{name}1x1", one, inputs, 1)
        add(f"{name}3x3_reduce", three_in, inputs, 1)
        add(f"{name}3x3", three, three_in, 3)
        add(f"{name}5x5_reduce", five_in, inputs, 1)
        add(f"{name}5x5", five, five_in, 5)
        add(f"{name}pool_proj", pool, inputs, 1)
    found["loss3/classifier"] = [
        (random.standard_normal((7, 1024)) / 32).astype(np.float32), random.standard_normal(7).astype(np.float32),
    ]  # fmt: skip
    if side_heads:
        found["loss1/classifier"] = [np.ones((7, 3), np.float32), np.ones(7, np.float32)]
        found["loss2/conv"] = [np.ones((2, 2, 1, 1), np.float32), np.ones(2, np.float32)]
    return found


def windows(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """c h w -> c h2 w2 k k."""
    found: np.ndarray = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))
    return found[:, ::stride, ::stride]


def convolved(x: np.ndarray, arrays: Iterable[np.ndarray], stride: int = 1) -> np.ndarray:
    """Convolution that pads by half the kernel, and the rectifier behind it."""
    weight, bias = arrays
    half = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half)))
    out = np.tensordot(weight, windows(padded, weight.shape[-1], stride), ((1, 2, 3), (0, 3, 4)))
    return np.maximum(out + bias[:, None, None], 0)


def halved(x: np.ndarray) -> np.ndarray:
    """Caffe's pool of 3 x 3 and stride 2: the number of windows is rounded up, the last one may reach over the edge."""
    sides = [int(np.ceil((size - 3) / 2)) * 2 + 3 - size for size in x.shape[1:]]
    padded = np.pad(x, ((0, 0), (0, sides[0]), (0, sides[1])), constant_values=-np.inf)
    return windows(padded, 3, 2).max((3, 4))


def response_normalised(x: np.ndarray) -> np.ndarray:
    """LRN across channels: local_size 5, alpha 0.0001, beta 0.75."""
    squares = np.pad(x**2, ((2, 2), (0, 0), (0, 0)))
    around = sum(squares[i : i + len(x)] for i in range(5))
    return x / (1 + 0.0001 / 5 * around) ** 0.75


def as_caffe(picture: np.ndarray, net: Blobs) -> np.ndarray:
    """Logits of a picture (h w 3, red green blue) as train_val.prototxt says, from bytes on."""
    x = picture[:, :, ::-1].astype(np.float64).transpose(2, 0, 1) - np.array([104.0, 117.0, 123.0])[:, None, None]
    x = response_normalised(halved(convolved(x, net["conv1/7x7_s2"], stride=2)))
    x = convolved(convolved(x, net["conv2/3x3_reduce"]), net["conv2/3x3"])
    x = halved(response_normalised(x))
    for module in MODULES:
        layers = {name.rpartition("/")[2]: arrays for name, arrays in net.items() if f"_{module}/" in name}
        edged = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        x = np.concatenate([
            convolved(x, layers["1x1"]),
            convolved(convolved(x, layers["3x3_reduce"]), layers["3x3"]),
            convolved(convolved(x, layers["5x5_reduce"]), layers["5x5"]),
            convolved(windows(edged, 3, 1).max((3, 4)), layers["pool_proj"]),
        ])  # fmt: skip
        if module in ("3b", "4e"):
            x = halved(x)
    weight, bias = net["loss3/classifier"]
    logits: np.ndarray = weight @ x.mean((1, 2)) + bias
    return logits


@pytest.fixture(scope="module")
def net() -> Blobs:
    return weights()


@pytest.fixture(scope="module")
def caffemodel(net: Blobs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("caffe") / "bvlc_googlenet.caffemodel"
    path.write_bytes(net_of(net))
    return path


def test_a_caffe_model_gives_caffes_own_numbers(net: Blobs, caffemodel: Path) -> None:
    backbone = opened(f"googlenet:paper@file:{caffemodel}", PX)
    pictures = np.random.default_rng(1).integers(0, 256, (2, PX, PX, 3), dtype=np.uint8)
    pictures[1] = np.array([255, 0, 0])  # all red: channels in the wrong order would show
    expected = np.stack([as_caffe(picture, net) for picture in pictures])
    with torch.no_grad():
        found = backbone.network({"pixels": torch.from_numpy(pictures)}).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    assert backbone.card.num_source_classes == 7
    assert backbone.card.weights == "file:bvlc_googlenet.caffemodel"


def test_the_network_sees_bytes_less_their_mean(caffemodel: Path) -> None:
    backbone = opened(f"googlenet@file:{caffemodel}", PX)
    assert backbone.card.variant == "paper"
    pixels = torch.tensor([[[[0, 0, 0], [255, 128, 1]]]], dtype=torch.uint8)
    with torch.no_grad():
        seen = backbone.network.start({"pixels": pixels})["hidden"].permute(0, 2, 3, 1)
    expected = torch.tensor([[[[-123.0, -117.0, -104.0], [132.0, 11.0, -103.0]]]])
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-4)


def small() -> Blobs:
    return {"conv1": [np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.array([0.5, -1.5], np.float32)]}


@pytest.mark.parametrize("kind", ["new", "old", "double"])
def test_blobs_of_every_generation_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "small.caffemodel"
    path.write_bytes(net_of(small(), kind=kind))
    found = read_caffemodel(path)
    assert list(found) == ["conv1/0", "conv1/1"]
    np.testing.assert_array_equal(found["conv1/0"], small()["conv1"][0])
    np.testing.assert_array_equal(found["conv1/1"].ravel(), small()["conv1"][1])
    assert found["conv1/0"].dtype == np.float32


def test_an_old_file_is_the_same_backbone(net: Blobs, caffemodel: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.caffemodel"
    old.write_bytes(net_of(net, kind="old"))
    assert opened(f"googlenet@file:{old}", PX).digest() == opened(f"googlenet@file:{caffemodel}", PX).digest()


SHORT = chunk(7, chunk(7, chunk(1, b"\x03")) + chunk(5, struct.pack("<2f", 1, 2)))
DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut short": (lambda whole: whole[: len(whole) // 2], "is not a valid Caffe model"),
    "empty": (lambda _: b"", "no layer with weights"),
    "text": (lambda _: b'name: "GoogleNet"\nlayer {\n', "is not a valid Caffe model"),
    "a number too few": (
        lambda _: chunk(100, chunk(1, b"fc") + SHORT),
        r"layer 'fc' has 2 values for the shape \(3,\)",
    ),
    "a negative size": (
        lambda _: chunk(100, chunk(1, b"fc") + chunk(7, chunk(7, chunk(1, b"\xff" * 9 + b"\x01")))), r"shape \(-1,\)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    make, said = DAMAGED[damage]
    path = tmp_path / "net.caffemodel"
    path.write_bytes(make(net_of(small())))
    with pytest.raises(WeightsError, match=said) as raised:
        opened(f"googlenet:paper@file:{path}", PX)
    assert str(path) in raised.value.message


def test_another_caffe_net_is_refused_by_its_layers(tmp_path: Path) -> None:
    path = tmp_path / "alexnet.caffemodel"
    path.write_bytes(net_of(small()))
    with pytest.raises(WeightsMismatch, match=r"conv1\.conv\.weight is missing"):
        opened(f"googlenet@file:{path}", PX)


def test_another_family_says_whose_the_file_is(caffemodel: Path) -> None:
    with pytest.raises(WeightsMismatch) as raised:
        opened(f"resnet18@file:{caffemodel}", PX)
    assert raised.value.fix == f"--backbone googlenet:paper@file:{caffemodel}"


def test_the_user_is_told_how_the_file_was_read(caffemodel: Path) -> None:
    from regraft.backbones.opening import open_backbone

    told: list[Any] = list(open_backbone(f"googlenet@file:{caffemodel}", input_px=PX))
    assert any(re.search(r"BVLC.*loss1, loss2.*left out", event.text) for event in told)
