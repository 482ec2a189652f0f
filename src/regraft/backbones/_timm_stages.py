"""A timm model as stages; possible cuts are verified by running the model.

timm's models compute `classifier(forward_head(forward_features(x), pre_logits=True))`. A single stage for everything
below the classifier is always correct. Finer stages are proposed from the modules that `forward_features` calls in
sequence: the elements of `stages`, `blocks` or `layers`, otherwise the modules named by timm's `feature_info`. They are
used only if, on noise, they give the same results as the model's `forward_features` and `forward_head`.

Letters: n examples, c channels, h and w height and width in pixels, d features.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regraft.contracts.backbone import Network
from regraft.errors import BadRequest
from regraft.nn.stages import Normalise, OnHidden

WHOLE = "body"
"""Name of the only stage of a model without inner cuts."""
REPEATED = ("stages", "blocks", "layers")
"""timm's names for the list of a model's main modules."""
TOLERANCE = 1e-5
"""Maximum difference between stages and original, relative to the largest value. Our choice; 0 is usual."""
FAULTS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
"""Exceptions that timm's models raise for unsupported inputs or an unsupported order of calls."""

Groups = Mapping[str, Sequence[str]]
"""The stages from the input upwards: name, and the paths of the modules called in sequence.

A model without inner cuts has the single stage `WHOLE`, without paths.
"""


class Chain(nn.Module):
    """Modules called in sequence."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


class TokenStem(nn.Module):
    """A vision transformer below its first block: patch embedding, class token, position embedding."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Any = net

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t d"]:
        net: Any = self.net
        return net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(x))))  # noqa: SLF001 - timm's seam


class Top(nn.Module):
    """The last stage: the remaining feature layers, then the head below its classifier.

    Adds `pooled` (n d) to the state, equal to the model's `forward_head(..., pre_logits=True)`.
    """

    def __init__(self, below: nn.Module | None, net: nn.Module) -> None:
        super().__init__()
        self.below = below
        self.net: Any = net

    def forward(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        hidden = state["hidden"]
        hidden = self.net.forward_features(hidden) if self.below is None else self.below(hidden)
        return {**state, "hidden": hidden, "pooled": self.net.forward_head(hidden, pre_logits=True)}


def network_of(net: Any, groups: Groups, mean: Sequence[float], std: Sequence[float]) -> Network:
    """Return the model's modules as a network of stages; the model and the network share all tensors."""
    channels_last = getattr(net, "output_fmt", "NCHW") == "NHWC"

    def readouts(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        hidden, found = state["hidden"], {"pooled": state["pooled"]}
        if hidden.ndim == 4:
            found["grid"] = hidden.permute(0, 3, 1, 2) if channels_last else hidden
        elif hidden.ndim == 3:
            found["tokens"] = hidden
        return found

    return Network(
        start=Normalise(mean, std),
        stages=_stages(net, groups),
        readouts=readouts,
        source_head=net.get_submodule(head_of(net)),
    )


def _stages(net: Any, groups: Groups) -> dict[str, nn.Module]:
    parts = [path for paths in groups.values() for path in paths]
    bodies: list[nn.Module] = [Chain([net.get_submodule(path) for path in paths]) for paths in groups.values()]
    first, last = next(iter(groups)), list(groups)[-1]
    if parts and hasattr(net, "_pos_embed"):  # a vision transformer: its first stage needs more than the listed modules
        kept = (*groups[first], "patch_embed")
        bodies[0] = TokenStem(without(net, [part for part, _ in net.named_children() if part not in kept]))
    stages: dict[str, nn.Module] = {name: OnHidden(body) for name, body in zip(groups, bodies, strict=True)}
    head = without(net, [*parts, head_of(net)], bare=bool(parts))
    stages[last] = Top(bodies[-1] if parts else None, head)
    return stages


def head_of(net: Any) -> str:
    """Return the path of the model's classifier.

    Raises:
        BadRequest: the classifier is not a single linear layer.
    """
    classifier = net.get_classifier()
    for path, part in net.named_modules():
        if part is classifier and isinstance(part, nn.Linear):
            return str(path)
    raise _refused(net, f"its classifier is {type(classifier).__name__}, not one dense layer")


def planned(net: Any, input_px: int) -> tuple[Groups, int]:
    """Return the finest stages that reproduce the model's output on noise of `input_px` pixels, and the number of
    features.

    The model's tensors are modified: a newly initialised model often has branches that start at zero and would hide
    errors.

    Raises:
        BadRequest: even as a whole the model is not features below one linear layer.
    """
    net.eval()
    noise = torch.randn((3, 3, input_px, input_px))
    with torch.no_grad():
        _disturb(net)
        pooled = net.forward_head(net.forward_features(noise), pre_logits=True)
        logits, head = net(noise), net.get_submodule(head_of(net))
        if not isinstance(pooled, Tensor) or pooled.ndim != 2 or not _close(head(pooled), logits):
            raise _refused(net, "its logits are not its classifier applied to its features")
        for groups in filter(None, (_proposal(net, noise), {WHOLE: ()})):
            if _holds(net, groups, noise, pooled):
                return groups, pooled.shape[1]
        raise _refused(net, "it does not run without its classifier")


def _holds(net: Any, groups: Groups, noise: Tensor, pooled: Tensor) -> bool:
    """Return whether the stages give `pooled`, and every intermediate state is one tensor with a row per example."""
    state = {"hidden": noise}
    try:
        for stage in _stages(net, groups).values():
            state = stage({name: value.clone() for name, value in state.items()})
            if not all(isinstance(value, Tensor) and value.shape[0] == len(noise) for value in state.values()):
                return False
    except FAULTS:
        return False
    return _close(state["pooled"], pooled)


def _proposal(net: Any, noise: Tensor) -> Groups:
    """Return a proposal of stages for the model; empty if its modules are unknown.

    A stage begins at a main module, or else after each module named by timm; whatever follows the last belongs to it.
    Modules without parameters (a pool, an activation) do not begin a stage.
    """
    fired = _called(net, noise)
    mains = [path for path in fired if path.partition(".")[0] in REPEATED]
    named = [str(info.get("module")) for info in getattr(net, "feature_info", []) if isinstance(info, dict)]
    ends = mains or [path for path in fired if path in named]
    if len(fired) != len(set(fired)) or len(ends) < 2:
        return {}
    stages: list[list[str]] = []
    for path in fired:
        begins = path in mains if mains else bool(stages) and not set(ends).isdisjoint(stages[-1])
        if not stages or (begins and any(True for _ in net.get_submodule(path).parameters())):
            stages.append([])
        stages[-1].append(path)
    if set(ends).isdisjoint(stages[-1]):
        rest = stages.pop()
        stages[-1] += rest
    return {"stem": stages[0]} | {next(path for path in one if path in ends): one for one in stages[1:]}


def _called(net: Any, noise: Tensor) -> list[str]:
    """Return the paths of the modules (of lists, their elements) in the order in which `forward_features` calls
    them."""
    parts: dict[str, nn.Module] = {}
    for name, child in net.named_children():
        inside = name in (*REPEATED, "features") and isinstance(child, nn.Sequential | nn.ModuleList)
        parts |= {f"{name}.{inner}": part for inner, part in child.named_children()} if inside else {name: child}
    fired: list[str] = []
    handles = [part.register_forward_hook(lambda *_, path=path: fired.append(path)) for path, part in parts.items()]
    try:
        net.forward_features(noise)
    finally:
        for handle in handles:
            handle.remove()
    return fired


def without(module: nn.Module, paths: Iterable[str], *, bare: bool = False) -> nn.Module:
    """Return a shallow copy of `module` without the modules at the dotted `paths`; all other modules and tensors are
    shared.

    `bare` also drops the module's own parameters and buffers, but not those of its children. Methods that use what is
    missing fail. The original is unchanged.
    """
    pruned = copy.copy(module)
    pruned._modules = dict(module._modules)  # noqa: SLF001 - a copy's tables are the original's own until replaced
    pruned._parameters = {} if bare else dict(module._parameters)  # noqa: SLF001
    pruned._buffers = {} if bare else dict(module._buffers)  # noqa: SLF001
    deeper: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        if rest:
            deeper.setdefault(name, []).append(rest)
        else:
            pruned._modules.pop(name, None)  # noqa: SLF001
    for name, inner in deeper.items():
        part = pruned._modules.get(name)  # noqa: SLF001
        if part is not None:
            pruned._modules[name] = without(part, inner)  # noqa: SLF001
    return pruned


def _disturb(net: Any) -> None:
    """Add a little noise to every vector of the model, so that none is constant zero or one."""
    for tensor in net.parameters():
        if tensor.ndim == 1:
            tensor.add_(torch.rand_like(tensor), alpha=0.2)
    for name, tensor in net.named_buffers():
        if name.endswith("running_mean"):
            tensor.add_(torch.randn_like(tensor), alpha=0.1)


def _close(found: Tensor, expected: Tensor) -> bool:
    scale = float(expected.abs().max()) or 1.0
    return found.shape == expected.shape and float((found - expected).abs().max()) <= TOLERANCE * scale


def _refused(net: Any, why: str) -> BadRequest:
    return BadRequest(
        f"timm's {type(net).__name__} cannot be used as a backbone: {why}.",
        fix="choose another timm model, for example a ResNet, ConvNeXt, EfficientNet, ViT or Swin.",
    )
