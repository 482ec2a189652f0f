"""The Open Inference Protocol, version 2 (KServe, Triton), over JSON and with binary tensors.

Source: https://github.com/kserve/open-inference-protocol and, for binary tensors,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md. A model has one
input, `input`: encoded files (BYTES, shape [n]; in JSON as base64, or as text if the model reads texts) or decoded
arrays (UINT8, shape [n, ...]). Letters: n inputs, c outputs of the model.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regraft.doors.http.batching import Input, Served
from regraft.doors.http.inputs import Reader, parsed_json
from regraft.errors import BadRequest
from regraft.records import to_json
from regraft.values import Prediction
from regraft.version import VERSION

INPUT = "input"
HEADER_LENGTH = "inference-header-content-length"
_NUMBERS = {"FP64": "<f8", "BOOL": "?"}
_FIX = "see https://github.com/kserve/open-inference-protocol, and /docs for examples."


def server_metadata() -> dict[str, Any]:
    """Return the metadata of the server."""
    return {"name": "regraft", "version": VERSION, "extensions": ["binary_tensor_data"]}


def model_metadata(served: Served) -> dict[str, Any]:
    """Return the metadata of a model's tensors."""
    task, classes = served.bundle.model.task, len(served.bundle.classes)
    outputs = [("label", "BYTES", [-1]), ("prediction", "BYTES", [-1]), ("abstained", "BOOL", [-1])]
    if task.answers != "structured":
        outputs.append((task.answers, "FP64", [-1, classes]))
    if served.bundle.model.ood is not None:
        outputs.append(("ood_score", "FP64", [-1]))
    return {
        "name": served.name,
        "versions": [served.digest],
        "platform": "regraft",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in outputs],
    }


class Asked:
    """An inference request, parsed and validated."""

    def __init__(self, data: bytes | bytearray, header_length: str | None, reader: Reader) -> None:
        """`header_length` is the value of that HTTP header: the length of the JSON, which binary tensors follow.

        Raises:
            BadRequest: the request does not follow the protocol.
        """
        end = len(data)
        if header_length is not None:
            if not header_length.isdecimal() or int(header_length) > len(data):
                raise _wrong(f"Inference-Header-Content-Length is {header_length[:20]!r}")
            end = int(header_length)
        asked = parsed_json(data[:end])
        if not isinstance(asked, dict):
            raise _wrong("the body is not a JSON object")
        self._reader, self._binary = reader, bytes(data[end:])
        self.id = asked.get("id")
        parameters = _mapping(asked.get("parameters"), "parameters")
        self.abstain, self.binary = parameters.get("abstain"), parameters.get("binary_data_output") is True
        self.outputs = asked.get("outputs")
        if not isinstance(self.id, str | None) or not isinstance(self.outputs, list | None):
            raise _wrong("`id` is not a string, or `outputs` is not a list")
        if isinstance(self.abstain, bool) or not isinstance(self.abstain, int | float | None):
            raise _wrong("the parameter `abstain` is not a number")
        match asked.get("inputs"):
            case [{"name": "input", "datatype": str(kind), "shape": list(shape), **others}]:
                self.inputs = [
                    Input(str(at), one) for at, one in enumerate(self._tensor(kind, shape, _mapping(others, INPUT)))
                ]
            case _:
                raise _wrong(f"`inputs` is not one tensor named {INPUT!r} with datatype and shape")

    def _tensor(self, kind: str, shape: list[Any], others: Mapping[str, Any]) -> Sequence[Any]:
        if not shape or not all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in shape):
            raise _wrong(f"the shape {str(shape)[:80]} is not a list of positive integers")
        if kind not in ("BYTES", "UINT8") or (kind == "BYTES" and math.prod(shape[1:]) != 1):
            raise _wrong(f"a tensor of type {kind[:20]} and shape {str(shape)[:80]} is not supported")
        self._reader.check_single()
        self._reader.checked(range(shape[0]))
        if (length := _mapping(others.get("parameters"), "parameters").get("binary_data_size")) is None:
            return self._from_json(kind, shape, others.get("data"))
        if isinstance(length, bool) or not isinstance(length, int) or not 0 <= length <= len(self._binary):
            raise _wrong("binary_data_size is larger than the data after the header")
        raw = self._binary[:length]
        if kind == "BYTES":
            return [self._reader.content(one) for one in _elements(raw, shape[0])]
        if length != math.prod(shape):
            raise _wrong(f"{length} bytes do not match a tensor of shape {str(shape)[:80]}")
        return list(np.frombuffer(raw, np.uint8).reshape(shape))

    def _from_json(self, kind: str, shape: list[int], data: Any) -> Sequence[Any]:
        if not isinstance(data, list):
            raise _wrong("the tensor has no `data`")
        if kind == "BYTES":
            flat = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in data]
            if len(flat) != shape[0] or not all(isinstance(one, str) for one in flat):
                raise _wrong(f"`data` is not a list of {shape[0]} strings")
            return [self._reader.text_or_bytes(one) for one in flat]
        try:
            array = np.asarray(data)
        except (ValueError, OverflowError) as error:
            raise _wrong("`data` is not an array") from error
        if array.dtype.kind not in "iu" or array.size != math.prod(shape) or array.min() < 0 or array.max() > 255:
            raise _wrong(f"`data` is not an array of integers from 0 to 255 of shape {str(shape)[:80]}")
        return list(array.astype(np.uint8).reshape(shape))


def outputs_of(served: Served, asked: Asked) -> list[dict[str, Any]]:
    """Return the requested outputs, or all if none are named, each with its metadata.

    Raises:
        BadRequest: there is no such output.
    """
    known = {one["name"]: one for one in model_metadata(served)["outputs"]}
    if not asked.outputs:
        return [{**one, "binary": asked.binary} for one in known.values()]
    found = []
    for one in asked.outputs:
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or name not in known:
            raise BadRequest(f"There is no output {str(name)[:40]!r}.", fix=f"choose from: {', '.join(known)}.")
        binary = _mapping(one.get("parameters"), "parameters").get("binary_data", asked.binary)
        found.append({**known[name], "binary": binary is True})
    return found


def reply(
    served: Served, asked: Asked, outputs: Sequence[Mapping[str, Any]], said: Sequence[Prediction]
) -> tuple[bytes, dict[str, str]]:
    """Return the body of the response and its headers."""
    tensors, binary = [], b""
    for one in outputs:
        values = _values(one["name"], said, served.bundle.classes)
        shape = [len(said), *one["shape"][1:]]
        tensor: dict[str, Any] = {"name": one["name"], "datatype": one["datatype"], "shape": shape}
        if one["binary"]:
            raw = _raw(one["datatype"], values)
            tensor["parameters"], binary = {"binary_data_size": len(raw)}, binary + raw
        else:
            tensor["data"] = values
        tensors.append(tensor)
    head = {"model_name": served.name, "model_version": served.digest, "outputs": tensors}
    text = json.dumps(to_json(head if asked.id is None else {**head, "id": asked.id})).encode()
    if not binary:
        return text, {"content-type": "application/json"}
    return text + binary, {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}


def _values(name: str, said: Sequence[Prediction], classes: Sequence[str]) -> list[Any]:
    """Return one output for all inputs, flattened."""
    match name:
        case "label":
            return [one.label or "" for one in said]
        case "prediction":
            return [json.dumps(to_json(one)) for one in said]
        case "abstained":
            return [one.abstained for one in said]
        case "ood_score":
            return [math.nan if one.ood_score is None else one.ood_score for one in said]
    return [getattr(one, name)[of] for one in said for of in classes]


def _raw(kind: str, values: Sequence[Any]) -> bytes:
    if kind != "BYTES":
        return np.array(values, dtype=_NUMBERS[kind]).tobytes()
    encoded = [one.encode() for one in values]
    return b"".join(struct.pack("<I", len(one)) + one for one in encoded)


def _elements(raw: bytes, count: int) -> list[bytes]:
    """Split a binary tensor of BYTES into its elements: each is preceded by its length in four bytes, little-endian."""
    found, at = list[bytes](), 0
    while at + 4 <= len(raw) and len(found) < count:
        (length,) = struct.unpack_from("<I", raw, at)
        found.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    if len(found) != count or at != len(raw):
        raise _wrong(f"the binary tensor does not contain {count} elements")
    return found


def _mapping(given: Any, name: str) -> Mapping[str, Any]:
    if given is None or isinstance(given, dict):
        return given or {}
    raise _wrong(f"`{name}` is not an object")


def _wrong(what: str) -> BadRequest:
    return BadRequest(f"The request violates the inference protocol: {what}.", fix=_FIX)
