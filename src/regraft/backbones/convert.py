"""Convert foreign weights to canonical tensors, once; afterwards neither torch nor the original file is needed.

A converted set is cached in `weights/<digest>/`: `tensors.safetensors`, and `facts.json` with the digest of every
stage. Parameter names of torchvision, Caffe or a paper's authors are handled by the original module: original and
network share their tensors, so loading one fills the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.backbone import BACKBONES, Backbone
from regraft.bundle_format import part_digests, read_json, read_tensors, write_tensors
from regraft.contracts.family import Card, Family, built
from regraft.errors import BundleError, WeightsError, WeightsMismatch
from regraft.files import cache_home, write_json
from regraft.identity import derive_seed, digest_json

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from regraft.contracts.backbone import Network

REVISION = 1
"""Increased when the conversion changes, so that weights are converted again."""


def converted_file(
    family: Family, card: Card, path: Path, content: str, read: Callable[[Path, Any], Mapping[str, Any]] | None = None
) -> Backbone:
    """Return the backbone of the card's variant with the weights in the file at `path`, whose digest is `content`.

    `read` is the reader for a package's own format (see `Packaged`); None for the usual formats.

    Raises:
        WeightsError: the file cannot be read.
        WeightsMismatch: the file contains tensors of another architecture.
    """

    def convert(folder: Path) -> None:
        found = read(path, _expected(family, card)) if read else read_original(path)
        tensors = found if read else translated(family, path, found)
        if faults := faults_of(family, card, tensors):
            raise mismatch(path, f"{family.name}:{card.variant}", faults, _fitting(path, found, family))
        sized = replace(card, num_source_classes=num_classes(family, tensors))
        made = family.build(sized.buildable)
        made.original.load_state_dict(family.adapt(trained(family, tensors), sized), strict=False)
        write_converted(folder, made.network, sized.num_source_classes)

    return kept(family, card, {"file": content}, convert)


def drawn(family: Family, card: Card, seed: int) -> Backbone:
    """Return the backbone with random weights, determined by `seed` alone."""
    return kept(family, card, {"seed": seed}, lambda folder: _draw(folder, family, card, seed))


def drawn_in(folder: Path, family: Family, card: Card, seed: int) -> Backbone:
    """Return the same as `drawn`, with the tensors in `folder`, which must exist while the backbone is in use."""
    _draw(folder, family, card, seed)
    facts = _facts(folder)
    assert facts is not None, "weights that were just written cannot be read"
    return _backbone(folder, family, card, facts)


def _draw(folder: Path, family: Family, card: Card, seed: int) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights", family.name, card.variant))
        write_converted(folder, family.build(card).network, card.num_source_classes)


def resized(backbone: Backbone, card: Card) -> Backbone:
    """Return the same weights for the input size of `card`, adapted if the family's weights depend on it."""
    family = backbone.family
    if not family.one_size or card.preparation.input_px == backbone.card.preparation.input_px:
        return replace(backbone, card=card)

    def convert(folder: Path) -> None:
        import torch

        old, new = built(family, backbone.card), built(family, card)
        stored = backbone.tensors()
        with torch.no_grad():
            for name, tensor in old.network.tensors().items():
                if name in stored:
                    tensor.copy_(torch.from_numpy(stored[name]))
        new.original.load_state_dict(family.adapt(old.original.state_dict(), card), strict=False)
        write_converted(folder, new.network, card.num_source_classes)

    return kept(family, card, {"backbone": backbone.digest()}, convert)


def variant_of(path: Path, content: str, family: Family) -> str:
    """Return the family's architecture to which the file belongs; cached by the digest of its content.

    Raises:
        WeightsError: the file cannot be read.
        WeightsMismatch: the file belongs to none of them.
    """
    memory = cache_home() / "weights" / f"variant-{digest_json([content, family.name, family.revision])}.json"
    if memory.is_file():
        known = read_json(memory)
        if known in family.variants:
            return str(known)
    tensors, faults = read_original(path), {}
    for variant in family.variants:
        faults[variant] = faults_of(family, family.card(variant), tensors)
        if not faults[variant]:
            write_json(memory, variant)
            return variant
    nearest = min(faults, key=lambda variant: len(faults[variant]))
    raise mismatch(
        path, f"{family.name} (nearest variant: {nearest})", faults[nearest], _fitting(path, tensors, family)
    )


def _fitting(path: Path, tensors: Mapping[str, Any], asked: Family) -> list[str]:
    """Return every registered architecture for the same modality that the tensors of a file fit, as NAME:VARIANT; open
    families have too many variants to try."""
    families: list[Family] = [BACKBONES.get(name) for name in BACKBONES]
    modality = asked.card(asked.variants[0]).modality
    return [
        f"{family.name}:{variant}"
        for family in families
        if family.narrowed is None and family.card(family.variants[0]).modality == modality
        for variant in family.variants
        if not faults_of(family, family.card(variant), translated(family, path, tensors))
    ]


def kept(family: Family, card: Card, source: Mapping[str, Any], convert: Any) -> Backbone:
    """Return the converted set made from `source`, from the cache or by calling `convert(folder)`."""
    sized = card.input_px if family.one_size else None
    described = [dict(card.config)] if card.config else []
    name = digest_json([REVISION, source, family.name, family.revision, card.variant, sized, *described])
    folder = cache_home() / "weights" / name
    facts = _facts(folder)
    if facts is None:
        convert(folder)
        facts = _facts(folder)
    assert facts is not None, "a conversion just written cannot be read"
    return _backbone(folder, family, card, facts)


def _backbone(folder: Path, family: Family, card: Card, facts: Mapping[str, Any]) -> Backbone:
    return Backbone(
        card=replace(card, num_source_classes=facts["num_source_classes"]),
        family=family,
        tensors_path=folder / "tensors.safetensors",
        stage_digests=facts["stages"],
    )


def _facts(folder: Path) -> dict[str, Any] | None:
    """Return the metadata of a converted set; None if it is incomplete and must be converted again."""
    try:
        facts = read_json(folder / "facts.json")
        size = (folder / "tensors.safetensors").stat().st_size
    except (BundleError, OSError):
        return None
    return facts if isinstance(facts, dict) and facts.get("bytes") == size else None


def write_converted(folder: Path, network: "Network", num_source_classes: int) -> None:
    """Write the tensors, then the metadata, so that metadata never exists without tensors.

    Without source classes the source classifier is left out, since it is untrained.
    """
    if not num_source_classes:
        network = replace(network, source_head=None)
    arrays: dict[str, np.ndarray] = {
        name: tensor.detach().float().numpy() for name, tensor in network.tensors().items()
    }
    digests = part_digests(arrays)
    path = folder / "tensors.safetensors"
    write_tensors(path, arrays)
    facts = {
        "stages": {stage: digests.get(stage, "") for stage in network.stages},
        "num_source_classes": num_source_classes,
        "bytes": path.stat().st_size,
    }
    write_json(folder / "facts.json", facts)


def read_original(path: Path) -> dict[str, "Tensor"]:
    """Return the tensors of a safetensors file, a Caffe model or a torch file, without executing anything in it.

    Raises:
        WeightsError: the file is damaged, or contains anything other than tensors by name.
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
        from regraft.backbones._caffe import read_caffemodel

        return {name: torch.from_numpy(array) for name, array in read_caffemodel(path).items()}
    try:
        with warnings.catch_warnings():  # torch asks users to report files with another pickle protocol
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} contains more than tensors and is not loaded: loading it could run code.",
            fix="at the source of the file, save model.state_dict() with torch.save or as .safetensors.",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, zipfile.BadZipFile) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"{path} is not a valid tensor file ({said[0]}); it may be truncated or damaged.",
            fix="download it again; expected a state dict saved by torch.save (tensors only) or a .safetensors file.",
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(
            f"{path} contains a {type(loaded).__name__}, not a state dict.",
            fix="save model.state_dict() instead of the model.",
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def translated(family: Family, path: Path, tensors: Mapping[str, "Tensor"]) -> Mapping[str, "Tensor"]:
    """Return the tensors of the file at `path` by the original's names, if the family knows files of this kind."""
    form = family.formats.get(path.suffix)
    return form.translate(tensors) if form else tensors


def trained(family: Family, tensors: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return the tensors without the family's auxiliary heads."""
    return {name: value for name, value in tensors.items() if not name.startswith(family.untrained or ("\0",))}


def num_classes(family: Family, tensors: Mapping[str, "Tensor"]) -> int:
    """Return the number of classes of the source classifier in the file; 0 if there is none."""
    weight = tensors.get(family.classifier)
    return 0 if weight is None or weight.ndim != 2 else int(weight.shape[0])


def faults_of(family: Family, card: Card, tensors: Mapping[str, "Tensor"]) -> list[str]:
    """Return the reasons why `tensors` do not fit this architecture; empty if they do.

    The source classifier may be missing; batch norm's counters are ignored.
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
    """Return the architecture's tensors by their original names, uninitialised.

    Initialisation is skipped: it takes a second for a large network, and on device `meta` it would load torch's
    compiler.
    """
    import torch

    from regraft.nn.initialise import Undrawn

    with torch.device("meta"), Undrawn():
        state: dict[str, Tensor] = family.build(card.buildable).original.state_dict()
    return state


def mismatch(path: Path, what: str, faults: list[str], fits: list[str]) -> WeightsMismatch:
    """Return the error naming the first tensors that do not fit, and the architectures that they do fit."""
    shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
    return WeightsMismatch(
        f"The tensors in {path} do not match {what}{f', but match {fits[0]}' if fits else ''}: {shown}.",
        fix=f"--backbone {fits[0]}@file:{path}"
        if fits
        else "name the backbone they belong to, NAME:VARIANT@file:PATH; `regraft backbones` lists all backbones.",
    )
