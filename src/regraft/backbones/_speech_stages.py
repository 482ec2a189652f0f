"""Speech and sound encoders from transformers as stages: wav2vec 2.0, HuBERT and AST.

Those that take samples have the stages `conv` (the convolutions), `embeddings` (projection and positions) and the
layers; AST has `embeddings` (patches of filter banks) and the layers. Tokens of padding are masked as the library does
where the network was trained so; where it was not, they are only left out of the mean.

Letters: n examples, s samples, m mel bands, t tokens (frames), d features.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones._transformers_stages import Cut, Plan, Stage, plain, readouts
from regraft.contracts.backbone import Network, State
from regraft.contracts.family import Built
from regraft.errors import BadRequest


class Start(nn.Module):
    """Prepared inputs, standardised: samples by what is heard of each example, filter banks by `normal` (mean, std)."""

    def __init__(self, normal: tuple[float, float] | bool) -> None:
        super().__init__()
        self.normal = normal

    def forward(self, state: State) -> State:
        if not isinstance(self.normal, bool):
            mean, std = self.normal
            return {"hidden": (state["fbank"] - mean) / (2 * std)}
        samples, heard = state["samples"], state["heard"]
        if self.normal:
            kept = (torch.arange(samples.shape[1], device=samples.device)[None] < heard).to(samples.dtype)
            away = (samples - samples.sum(dim=1, keepdim=True) / heard) * kept
            samples = away / ((away**2).sum(dim=1, keepdim=True) / heard + 1e-7).sqrt()
        return {"hidden": samples, "heard": heard}


def _conv(net: Any, masked: bool) -> Cut:
    """Samples -> features of the convolutions (n t d), and which of them are not padding (n t)."""
    steps = list(zip(net.config.conv_kernel, net.config.conv_stride, strict=True))

    def call(parts: nn.ModuleDict, state: State) -> Mapping[str, Any]:
        x, lengths = state["hidden"][:, None], state["heard"]
        for layer in parts["layers"].children():
            x = layer(x)
        for kernel, stride in steps:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        kept = torch.arange(x.shape[2], device=x.device)[None] < lengths.clamp(min=1)
        return {"hidden": x.transpose(1, 2), "heard": None, ("mask" if masked else "tokens"): kept}

    return {"layers": net.feature_extractor.conv_layers}, call


def _projected(net: Any) -> Cut:
    stable, encoder = net.config.do_stable_layer_norm, net.encoder

    def call(parts: nn.ModuleDict, state: State) -> Tensor:
        made = parts["projection"](state["hidden"])
        hidden = made[0] if isinstance(made, tuple) else made
        if "mask" in state:
            hidden = hidden * state["mask"][..., None].to(hidden.dtype)
        hidden = hidden + parts["positions"](hidden)
        return parts["dropout"](hidden if stable else parts["norm"](hidden))

    norm = {} if stable else {"norm": encoder.layer_norm}
    parts = {"projection": net.feature_projection, "positions": encoder.pos_conv_embed, "dropout": encoder.dropout}
    return {**parts, **norm}, call


def _patches(net: Any) -> Cut:
    """Filter banks -> two class tokens and patches; for shorter inputs, later positions are left out."""
    bands, frames = net.embeddings.get_shape(net.config)

    def call(parts: nn.ModuleDict, state: State) -> Tensor:
        own: Any = parts["embeddings"]
        width, long = net.config.hidden_size, state["hidden"].shape[1]
        if long > net.config.max_length:
            raise BadRequest(
                f"A piece is {long / 100:g} s long, and this network hears at most {net.config.max_length / 100:g} s.",
                fix="lower prepare.seconds, which recordings longer than that are cut to.",
            )
        found = own.patch_embeddings(state["hidden"])
        first, later = own.position_embeddings[:, :2], own.position_embeddings[:, 2:]
        later = later.view(1, bands, frames, width)[:, :, : found.shape[1] // bands].flatten(1, 2)
        classes = torch.cat([own.cls_token, own.distillation_token], dim=1) + first
        made: Tensor = own.dropout(torch.cat([classes.expand(found.shape[0], -1, -1), found + later], dim=1))
        return made

    return {"embeddings": net.embeddings}, call


def _without_masking(library: Any, settings: Any) -> nn.Module:
    """Build the network without the vector that hides frames in its own pretraining.

    Raises:
        BadRequest: it shortens its output by further convolutions.
    """
    if getattr(settings, "add_adapter", False):
        raise BadRequest("This network has an adapter after its layers, which is not supported.",
                         fix="choose another network.")  # fmt: skip
    settings.mask_time_prob = settings.mask_feature_prob = 0.0
    return library.AutoModel.from_config(settings, dtype=torch.float32)


SAMPLES = Plan(
    embed=_projected,
    layers=lambda net: [plain(layer) for layer in net.encoder.layers],
    last=lambda net: {"norm": net.encoder.layer_norm} if net.config.do_stable_layer_norm else {},
    make=_without_masking,
)
PLANS: Mapping[str, Plan] = {
    "wav2vec2": SAMPLES,
    "hubert": SAMPLES,
    "audio-spectrogram-transformer": Plan(
        embed=_patches,
        layers=lambda net: [plain(layer) for layer in net.layers],
        last=lambda net: {"norm": net.layernorm},
    ),
}
"""By the `model_type` of a configuration."""


def network_of(config: Mapping[str, Any]) -> Built:
    """Build the network for a card's `config` with random weights, initialised by the library."""
    from regraft.backbones.transformers import library

    transformers, described = library(), dict(config["transformers"])
    plan = PLANS[str(described["model_type"])]
    net: Any = plan.make(transformers, transformers.AutoConfig.for_model(**described))
    conv = {"conv": _conv(net, bool(config["masked"]))} if plan is SAMPLES else {}
    layers = {f"layer.{at}": cut for at, cut in enumerate(plan.layers(net))}
    cuts = {**conv, "embeddings": plan.embed(net), **layers}
    stages = {name: Stage(*cut, plan.last(net) if name == [*layers][-1] else {}) for name, cut in cuts.items()}
    normal, pooling = config["normal"], str(config["pooling"])
    start = Start(normal if isinstance(normal, bool) else tuple(normal))
    network = Network(start=start, stages=stages, readouts=lambda state: readouts(state, pooling))
    return Built(network=network, original=net)
