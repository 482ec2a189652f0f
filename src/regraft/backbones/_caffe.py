"""Read the blobs of Caffe's `.caffemodel` files by layer name, through protobuf. Nothing in the file is executed.

Only the fields of Caffe's messages that hold weights are described, by their published numbers; protobuf skips all
others. Both generations are read: `layer` (since 2014) and the older `layers`, with a shape of any length or with the
four legacy fields. Source of the numbers: src/caffe/proto/caffe.proto of BVLC/caffe.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from regraft.errors import WeightsError

PACKAGE = "regraft.caffe"
LARGEST = 1 << 31
"""Maximum size of a message that protobuf reads, in bytes."""
FIELDS: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "Shape": (("dim", 1, "int64", True),),
    "Blob": (
        ("num", 1, "int32", False),
        ("channels", 2, "int32", False),
        ("height", 3, "int32", False),
        ("width", 4, "int32", False),
        ("data", 5, "float", True),
        ("shape", 7, "Shape", False),
        ("double_data", 8, "double", True),
    ),
    "Layer": (("name", 1, "string", False), ("type", 2, "string", False), ("blobs", 7, "Blob", True)),
    "OldLayer": (("name", 4, "string", False), ("blobs", 6, "Blob", True)),
    "Net": (("name", 1, "string", False), ("layers", 2, "OldLayer", True), ("layer", 100, "Layer", True)),
}
"""Fields of each message: name, number, kind and whether it repeats."""


def read_caffemodel(path: Path) -> dict[str, np.ndarray]:
    """Return the blobs of a `.caffemodel` as float32 arrays, by `layer/position`: `conv1/7x7_s2/0` is that layer's
    weight.

    A legacy blob has four axes, the first ones of size 1 if the layer needs fewer.

    Raises:
        WeightsError: the file is not a Caffe model or is truncated, or the size of a blob does not match its shape.
    """
    from google.protobuf.message import DecodeError

    if path.stat().st_size >= LARGEST:
        raise _unreadable(path, f"it has {path.stat().st_size:,} bytes; protobuf reads fewer than {LARGEST:,}")
    net = _net_class()()
    try:
        net.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise _unreadable(path, str(error).strip().splitlines()[0]) from error
    arrays = {
        f"{layer.name}/{position}": _array(path, layer.name, blob)
        for layer in (*net.layers, *net.layer)
        for position, blob in enumerate(layer.blobs)
    }
    if not arrays:
        raise _unreadable(path, "it contains no layer with weights")
    return arrays


def _array(path: Path, layer: str, blob: Any) -> np.ndarray:
    old = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else old
    numbers = np.array(blob.data or blob.double_data, dtype=np.float32)
    if min(shape, default=1) < 0 or numbers.size != int(np.prod(shape, dtype=object)):
        raise _unreadable(path, f"a blob of layer {layer!r} has {numbers.size:,} values for the shape {shape}")
    return numbers.reshape(shape)


@cache
def _net_class() -> Any:
    """Return the message class of a whole net, built from `FIELDS`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="regraft/caffe.proto", package=PACKAGE, syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in FIELDS.items():
        made = file.message_type.add(name=message)
        for name, number, kind, repeats in fields:
            label = kinds.LABEL_REPEATED if repeats else kinds.LABEL_OPTIONAL
            one = made.field.add(name=name, number=number, label=label)
            if kind in FIELDS:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                one.type = getattr(kinds, f"TYPE_{kind.upper()}")
                one.options.packed = repeats
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Net"))


def _unreadable(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"{path} is not a valid Caffe model: {why}.",
        fix="download it again; expected a binary .caffemodel with the weights of a network.",
    )
