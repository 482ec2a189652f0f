"""Networks from transformers as stages: `embeddings`, then `layer.0`, `layer.1` …

A stage holds modules of the original network and calls them as the original does. The padding mask is kept in the
state; the form needed by attention is cheap and computed in every layer. Anything a lower stage computes for all layers
(a table of position biases) is kept in the state without a batch axis.

Letters: n examples, t tokens, d features, h heads.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regraft.backbones.transformers import DECODERS
from regraft.contracts.backbone import Network, Readouts, State
from regraft.contracts.family import Built
from regraft.errors import BadRequest


class Start(nn.Module):
    """Token ids in the original's form: padding has its own id."""

    def __init__(self, pad: int) -> None:
        super().__init__()
        self.pad = pad

    def forward(self, state: State) -> State:
        return {**state, "ids": state["ids"].long().masked_fill(~state["mask"], self.pad)}


Call = Callable[[nn.ModuleDict, State], Mapping[str, Any] | Tensor]
"""(the stage's modules, the state) -> the new `hidden`, or several tensors for the state; None removes one."""


class Stage(nn.Module):
    """Modules of the original, called in the same way; in the last stage, followed by its final norm."""

    def __init__(self, parts: Mapping[str, nn.Module], call: Call, last: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts, self._call = nn.ModuleDict(dict(parts)), call
        self.last = nn.ModuleDict(dict(last))

    def forward(self, state: State) -> State:
        made = self._call(self.parts, state)
        new = dict(made) if isinstance(made, Mapping) else {"hidden": made}
        if "truth" in state:
            new["tap.truth"] = state["truth"]
        for part in self.last.values():
            new["hidden"] = part(new["hidden"])
        gone = ("ids", "types", "mel", "decoder", "truth")
        kept = {name: one for name, one in state.items() if name not in gone} | new
        return {name: one for name, one in kept.items() if one is not None}


def unmasked(state: State, allowed: Tensor | None = None) -> Float[Tensor, "n 1 #t t"] | None:
    """Return the additive attention mask: 0 for visible tokens, else the most negative number; `allowed` (t t)
    restricts it. None without padding."""
    if "mask" not in state:
        return None
    mask = state["mask"][:, None, None, :]
    mask = mask if allowed is None else mask & allowed
    zero = torch.zeros((), dtype=state["hidden"].dtype, device=mask.device)
    return zero.masked_fill(~mask, torch.finfo(zero.dtype).min)


def distances(state: State) -> Tensor:
    """Return the distance in tokens from each token (row) to each other (column) (t t)."""
    places = torch.arange(state["hidden"].shape[1], device=state["hidden"].device)
    return places[None, :] - places[:, None]


Cut = tuple[Mapping[str, nn.Module], Call]
"""Modules and call of a stage."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to cut one type of network."""

    embed: Callable[[Any], Cut]
    """The original -> its first stage."""
    layers: Callable[[Any], list[Cut]]
    """The original -> its layers."""
    last: Callable[[Any], Mapping[str, nn.Module]] = lambda net: {}
    """The original -> the modules after the last layer."""
    make: Callable[[Any, Any], nn.Module] = lambda library, settings: library.AutoModel.from_config(
        settings, dtype=torch.float32
    )
    """(transformers, its configuration) -> the original."""
    shared: frozenset[str] = frozenset()
    """Tensors that the first stage computes for all layers, the same for all examples."""


def plain(part: nn.Module, allowed: Callable[[State], Tensor] | None = None) -> Cut:
    """Return a layer that takes the hidden state and the mask."""

    def call(parts: nn.ModuleDict, state: State) -> Tensor:
        mask = unmasked(state, None if allowed is None else allowed(state))
        return parts["layer"](state["hidden"], attention_mask=mask)

    return {"layer": part}, call


def _embedded(net: Any) -> Cut:
    def call(parts: nn.ModuleDict, state: State) -> Tensor:
        told = {"token_type_ids": state["types"].long()} if "types" in state else {}
        return parts["embeddings"](state["ids"], **told)

    return {"embeddings": net.embeddings}, call


def _bare(library: Any, settings: Any) -> nn.Module:
    """Build the network without the pooler, which our head replaces."""
    return library.AutoModel.from_config(settings, dtype=torch.float32, add_pooling_layer=False)


def _albert_embed(net: Any) -> Cut:
    parts, plain = _embedded(net)
    return {**parts, "wide": net.encoder.embedding_hidden_mapping_in}, lambda own, state: own["wide"](plain(own, state))


def _albert_layers(net: Any) -> list[Cut]:
    """Copy the weights shared by several layers for each layer, since some may be frozen and others trained."""
    groups, count = net.encoder.albert_layer_groups, net.config.num_hidden_layers
    sources = [groups[int(at / (count / len(groups)))] for at in range(count)]
    own = [source if source not in sources[:at] else copy.deepcopy(source) for at, source in enumerate(sources)]

    def again(module: nn.Module, keys: Any) -> None:
        for source, part in zip(sources, own, strict=True):
            part.load_state_dict(source.state_dict())

    net.register_load_state_dict_post_hook(again)
    return [plain(part) for part in own]


def _deberta_embed(net: Any) -> Cut:
    encoder = net.encoder
    if not encoder.relative_attention:
        raise BadRequest(
            "This DeBERTa has no relative positions, which Regraft requires.", fix="choose another network."
        )
    norm = {"norm": encoder.LayerNorm} if "layer_norm" in encoder.norm_rel_ebd else {}

    def call(parts: nn.ModuleDict, state: State) -> Mapping[str, Tensor]:
        told = {"token_type_ids": state["types"].long()} if "types" in state else {}
        hidden = parts["embeddings"](state["ids"], mask=state["mask"], **told)
        table = parts["relative"].weight
        return {"hidden": hidden, "relative": parts["norm"](table) if "norm" in parts else table}

    return {"embeddings": net.embeddings, "relative": encoder.rel_embeddings, **norm}, call


def _deberta_layers(net: Any) -> list[Cut]:
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    buckets, most = net.encoder.position_buckets, net.encoder.max_relative_positions

    def call(parts: nn.ModuleDict, state: State) -> Tensor:
        hidden, mask = state["hidden"], state["mask"]
        places = build_relative_position(hidden, hidden, bucket_size=buckets, max_position=most)
        both = mask[:, None, None, :] & mask[:, None, :, None]
        made: Tensor = parts["layer"](hidden, both, relative_pos=places, rel_embeddings=state["relative"])[0]
        return parts["conv"](hidden, made, mask.long()) if "conv" in parts else made

    conv = {"conv": net.encoder.conv} if net.encoder.conv is not None else {}
    return [({"layer": layer, **({} if at else conv)}, call) for at, layer in enumerate(net.encoder.layer)]


def _modern_layers(net: Any) -> list[Cut]:
    width = net.config.sliding_window

    def layer(part: Any) -> Cut:
        kind = part.attention_type

        def call(parts: nn.ModuleDict, state: State) -> Tensor:
            apart, hidden = distances(state), state["hidden"]
            mask = unmasked(state, None if kind == "full_attention" else apart.abs() <= width)
            places = torch.arange(hidden.shape[1], device=hidden.device)[None]
            turned = parts["rotary"](hidden, places, kind)
            return parts["layer"](hidden, attention_mask=mask, position_embeddings=turned)

        return {"layer": part, "rotary": net.rotary_emb}, call

    return [layer(part) for part in net.layers]


def _gpt2_embed(net: Any) -> Cut:
    def call(parts: nn.ModuleDict, state: State) -> Tensor:
        places = torch.arange(state["ids"].shape[1], device=state["ids"].device)
        return parts["dropout"](parts["words"](state["ids"]) + parts["places"](places)[None])

    return {"words": net.wte, "places": net.wpe, "dropout": net.drop}, call


def _gemma_layers(net: Any) -> list[Cut]:
    width = net.config.sliding_window

    def layer(part: Any, kind: str) -> Cut:
        def call(parts: nn.ModuleDict, state: State) -> Tensor:
            apart, hidden = distances(state), state["hidden"]
            allowed = apart <= 0 if kind == "full_attention" else (apart <= 0) & (apart > -width)
            places = torch.arange(hidden.shape[1], device=hidden.device)[None]
            turned = parts["rotary"](hidden, places, kind)
            return parts["layer"](hidden, attention_mask=unmasked(state, allowed), position_embeddings=turned)

        return {"layer": part, "rotary": net.rotary_emb}, call

    return [layer(*one) for one in zip(net.layers, net.config.layer_types, strict=True)]


def _t5_embed(net: Any) -> Cut:
    def call(parts: nn.ModuleDict, state: State) -> Mapping[str, Tensor]:
        return {"hidden": parts["dropout"](parts["words"](state["ids"])), "bias": parts["bias"].weight}

    bias = net.block[0].layer[0].SelfAttention.relative_attention_bias
    return {"words": net.embed_tokens, "bias": bias, "dropout": net.dropout}, call


def t5_layers(net: Any) -> list[Cut]:
    first = net.block[0].layer[0].SelfAttention
    settings = {
        "num_buckets": first.relative_attention_num_buckets,
        "max_distance": first.relative_attention_max_distance,
    }
    bucket = type(first)._relative_position_bucket  # noqa: SLF001 - the library has no public name for it

    def call(parts: nn.ModuleDict, state: State) -> Tensor:
        bias = nn.functional.embedding(bucket(distances(state), bidirectional=True, **settings), state["bias"])
        made: Tensor = parts["layer"](
            state["hidden"], attention_mask=unmasked(state), position_bias=bias.permute(2, 0, 1)[None]
        )[0]
        return made

    return [({"layer": block}, call) for block in net.block]


def _encoder_layers(net: Any) -> list[Cut]:
    return [plain(layer) for layer in net.encoder.layer]


BERT = Plan(embed=_embedded, layers=_encoder_layers, make=_bare)
PLANS: Mapping[str, Plan] = {
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "camembert": BERT,
    "distilbert": Plan(embed=_embedded, layers=lambda net: [plain(one) for one in net.transformer.layer]),
    "albert": Plan(embed=_albert_embed, layers=_albert_layers, make=_bare),
    "deberta-v2": Plan(embed=_deberta_embed, layers=_deberta_layers, shared=frozenset({"relative"})),
    "modernbert": Plan(
        embed=lambda net: ({"embeddings": net.embeddings}, lambda parts, state: parts["embeddings"](state["ids"])),
        layers=_modern_layers,
        last=lambda net: {"norm": net.final_norm},
    ),
    "gpt2": Plan(
        embed=_gpt2_embed,
        layers=lambda net: [plain(block, lambda state: distances(state) <= 0) for block in net.h],
        last=lambda net: {"norm": net.ln_f},
    ),
    "gemma3_text": Plan(
        embed=lambda net: ({"words": net.embed_tokens}, lambda parts, state: parts["words"](state["ids"])),
        layers=_gemma_layers,
        last=lambda net: {"norm": net.norm},
    ),
    "t5": Plan(
        embed=_t5_embed,
        layers=t5_layers,
        last=lambda net: {"norm": net.final_layer_norm, "dropout": net.dropout},
        make=lambda library, settings: library.T5EncoderModel(settings).encoder,
        shared=frozenset({"bias"}),
    ),
}
"""By the `model_type` of a configuration."""


def network_of(config: Mapping[str, Any]) -> Built:
    """Build the network for a card's `config` with random weights, initialised by the library."""
    from regraft.backbones.transformers import library

    transformers, described = library(), dict(config["transformers"])
    plan = PLANS[str(described["model_type"])]
    settings = transformers.AutoConfig.for_model(**described)
    whole, causal, head = None, str(described["model_type"]) in DECODERS, config.get("head")
    if head:  # a language model with an output layer of its own
        kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
        whole = kind.from_config(settings, dtype=torch.float32)
    net = plan.make(transformers, settings) if whole is None else whole.base_model
    parts, last = [plan.embed(net), *plan.layers(net)], plan.last(net)
    names = ["embeddings", *(f"layer.{at}" for at in range(len(parts) - 1))]
    stages = {name: Stage(*cut, last if name == names[-1] else {}) for name, cut in zip(names, parts, strict=True)}
    pooling, unit = str(config["pooling"]), bool(config.get("unit"))
    network = Network(
        start=Start(int(settings.pad_token_id or 0)),
        stages=stages,
        readouts=lambda state: readouts(state, pooling, unit=unit),
        shared=plan.shared,
        source_head=None if head is None else _output_of(net if whole is None else whole, head),
        generate=None if head is None else _writing(transformers, whole) if causal else _filled,
    )
    return Built(network=network, original=net if whole is None else whole)


def _output_of(net: Any, head: Sequence[str]) -> nn.Module:
    """Return a separate output layer (d -> v), initialised from the modules `head` of the network in a file, or from
    its embeddings."""
    words = net.get_input_embeddings().weight
    if head:
        parts = nn.Sequential(*(net.get_submodule(name) if name != "gelu" else nn.GELU() for name in head))
        own = copy.deepcopy(parts)
    else:
        own = nn.Sequential(nn.Linear(words.shape[1], words.shape[0], bias=False))

    def again(*_: Any) -> None:
        own.load_state_dict(parts.state_dict() if head else {"0.weight": words})

    again()
    net.register_load_state_dict_post_hook(again)
    return own


def _writing(transformers: Any, whole: Any) -> Callable[..., Tensor]:
    """Return how a causal model generates, by the library's own `generate`."""

    def write(network: Network, state: State, cut: str, head: nn.Module, told: Mapping[str, Any]) -> Tensor:
        writer = copy.copy(whole)  # the same modules except the output layer
        writer._modules = {**whole._modules, "lm_head": head}  # noqa: SLF001
        pad, ends = whole.config.pad_token_id, whole.config.eos_token_id
        writer.generation_config = transformers.GenerationConfig(eos_token_id=ends, pad_token_id=pad or 0, **told)
        ids = state["ids"].long()
        room = getattr(whole.config, "max_position_embeddings", 0) - told["max_new_tokens"]
        ids = ids[:, -room:] if room > 0 else ids
        made: Tensor = writer.eval().generate(input_ids=ids, attention_mask=torch.ones_like(ids))
        return made[:, ids.shape[1] :]

    return write


def _filled(network: Network, state: State, cut: str, head: nn.Module, told: Mapping[str, Any]) -> Tensor:
    """Return the tokens with the most likely one in place of every mask token."""
    ids = state["ids"].long()
    read = network.readouts(network.run(state, after=cut))["tokens"]
    return torch.where(ids == told["mask"], head(read).argmax(dim=-1), ids)


def readouts(state: State, pooling: str, *, unit: bool = False) -> Readouts:
    """Return the top state's tokens (n t d), and their `mean`, the mean of the first two (`pair`), the `first` or
    `last` (n d), normalised to length 1 if `unit`. Tokens that are padding are in `mask` or, if attention saw them, in
    `tokens`."""
    hidden = state["hidden"]
    ones = torch.ones_like(hidden[..., 0], dtype=torch.bool)
    mask = state["mask"] if "mask" in state else state.get("tokens", ones)
    if pooling == "pair":
        pooled = hidden[:, :2].mean(dim=1)
    elif pooling == "mean":
        kept = mask[..., None].to(hidden.dtype)
        pooled = (hidden * kept).sum(1) / kept.sum(1).clamp(min=1)
    else:
        place = mask.sum(1).clamp(min=1) - 1 if pooling == "last" else torch.zeros_like(mask[:, 0], dtype=torch.long)
        pooled = hidden[torch.arange(hidden.shape[0], device=hidden.device), place]
    return {"tokens": hidden, "pooled": nn.functional.normalize(pooled, dim=1) if unit else pooled}
