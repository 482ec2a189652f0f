"""Files of weights that others wrote: read without running anything in them, and compared with an architecture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.backbones._caffe import read_caffemodel
from regraft.bundle_format import read_tensors
from regraft.contracts.card import Card
from regraft.contracts.family import Family
from regraft.errors import BundleError, WeightsError, WeightsMismatch

if TYPE_CHECKING:
    from torch import Tensor


def read_original(path: Path) -> dict[str, "Tensor"]:
    """The tensors of a safetensors file, a Caffe model or a torch file, without running anything it contains.

    Raises:
        WeightsError: the file is damaged, or holds something other than tensors by name.
    """
    import pickle
    import warnings
    import zipfile

    import torch

    if path.suffix == ".safetensors":
        try:
            return {name: torch.from_numpy(array) for name, array in read_tensors(path).items()}
        except BundleError as error:
            raise WeightsError(error.message, fix=error.fix) from error
    if path.suffix == ".caffemodel":
        return {name: torch.from_numpy(array) for name, array in read_caffemodel(path).items()}
    try:
        with warnings.catch_warnings():  # of a file of another pickle protocol, torch asks the user to tell torch
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors, and is refused: loading it could run code.",
            fix="save model.state_dict() with torch.save, or as .safetensors, where the file comes from.",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, zipfile.BadZipFile) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"{path} cannot be read as a file of tensors ({said[0]}); it may be cut short or damaged.",
            fix="fetch it again; a state dict saved by torch.save (tensors only) or a .safetensors file is expected.",
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(
            f"{path} holds {type(loaded).__name__}, not tensors by name.",
            fix="save model.state_dict() instead of the model.",
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def translated(family: Family, path: Path, tensors: Mapping[str, "Tensor"]) -> Mapping[str, "Tensor"]:
    """The tensors of the file at `path` by the original's own names, where the family knows files of its kind."""
    form = family.formats.get(path.suffix)
    return form.translate(tensors) if form else tensors


def trained(family: Family, tensors: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """The tensors without the family's auxiliary heads."""
    return {name: value for name, value in tensors.items() if not name.startswith(family.untrained or ("\0",))}


def num_classes(family: Family, tensors: Mapping[str, "Tensor"]) -> int:
    """How many classes the source classifier in the file tells apart; 0 where it has none."""
    weight = tensors.get(family.classifier)
    return 0 if weight is None or weight.ndim != 2 else int(weight.shape[0])


def faults_of(family: Family, card: Card, tensors: Mapping[str, "Tensor"]) -> list[str]:
    """What keeps `tensors` from being this architecture's; empty when they fit.

    The source classifier may be missing; batch norm's counters do not matter.
    """
    card = replace(card, num_source_classes=num_classes(family, tensors))
    wanted = _expected(family, card)
    given = family.adapt(trained(family, tensors), card)
    head = family.classifier.rpartition(".")[0] + "."
    faults = []
    for name, tensor in wanted.items():
        if name not in given:
            if not name.endswith("num_batches_tracked") and not name.startswith(head):
                faults.append(f"{name} is missing")
        elif given[name].shape != tensor.shape:
            faults.append(f"{name} has shape {tuple(given[name].shape)} instead of {tuple(tensor.shape)}")
    return faults + [f"{name} is not part of it" for name in given if name not in wanted]


def _expected(family: Family, card: Card) -> dict[str, "Tensor"]:
    """The architecture's tensors by their original names, without numbers.

    Nothing is drawn: that takes a second for a large network, and on device `meta` it would load torch's compiler.
    """
    import torch

    from regraft.backbones._undrawn import Undrawn

    with torch.device("meta"), Undrawn():
        state: dict[str, Tensor] = family.build(card.buildable).original.state_dict()
    return state


def mismatch(path: Path, what: str, faults: list[str], fits: list[str]) -> WeightsMismatch:
    """The error that names the first tensors that do not fit, and the architectures that they do fit."""
    shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
    return WeightsMismatch(
        f"The tensors in {path} are not those of {what}{f' but of {fits[0]}' if fits else ''}: {shown}.",
        fix=f"--backbone {fits[0]}@file:{path}"
        if fits
        else "name the backbone they were made with, NAME:VARIANT@file:PATH; `regraft backbones` lists what there is.",
    )
