"""Attribution maps: Grad-CAM and integrated gradients, by captum.

Both explain one output: a logit if there is one per class, label or value, else what the task makes of them.
Letters: n rows, c channels, h and w height and width of a grid, t tokens, d features.
Sources: Selvaraju et al. 2017, arXiv:1610.02391; Sundararajan, Taly and Yan 2017, arXiv:1703.01365.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from regraft.bundles.bundle import Bundle
from regraft.contracts.backbone import TAP
from regraft.contracts.modality import Record
from regraft.errors import MissingExtra
from regraft.files import keep_in_cache
from regraft.tasks.linear import linear

STEPS = 32
"""Steps of integrated gradients. Our choice: doubling them changes the maps by about a hundredth."""
GRAD_CAM, INTEGRATED = "Grad-CAM", "integrated gradients"


class Above(nn.Module):
    """Maps the `hidden` after the first `passed` stages to the outputs, with the rest of the state held fixed."""

    def __init__(self, bundle: Bundle, state: Mapping[str, Tensor], passed: int, *, tokens_last: bool = False) -> None:
        super().__init__()
        self.network, self.held, self.passed = bundle.model.backbone.network, dict(state), passed
        self.head, self.task, self.model = bundle.model.module, linear(bundle.model.task), bundle.model
        self.tokens_last, self.at = tokens_last, nn.Identity()

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.at(hidden)
        rows = len(hidden)
        held = {
            name: value if name in self.network.shared else value.expand(rows, *value.shape[1:])
            for name, value in self.held.items()
        }
        state = held | {"hidden": hidden.transpose(1, 2) if self.tokens_last else hidden}
        top = _through(self.network.stages, state, self.passed)
        logits: Tensor = self.head(self.network.readouts(top)[self.task.reads.readout])
        if self.task.num_outputs == len(self.task.classes):
            return logits
        return self.task.graph(logits, self.model.temperature, {})["outputs"]


def attributions(bundle: Bundle, record: Record, output: int) -> dict[str, Float[np.ndarray, "..."]]:
    """Return, by method, the attribution of each position to the output with this number: rows and columns (h w), or
    tokens (t).

    Grad-CAM uses the last feature map of the network, or the tokens before its last stage, and clips negative values to
    0; it is omitted for networks that have neither. Integrated gradients start from zero, which for normalised inputs
    is their mean, at the first floating-point state, and are signed.

    Raises:
        MissingExtra: captum is not installed.
        BadRequest: the task is not linear.
    """
    captum, network = captum_library(), bundle.model.backbone.network
    inputs = {name: torch.tensor(array)[None] for name, array in record.items()}
    with torch.no_grad():
        states = [dict(network.start(inputs))]
        for stage in network.stages.values():
            states.append(_without_taps(stage(states[-1])))
    made = {}
    if (passed := _last_places(states)) is not None:
        tokens = states[passed]["hidden"].ndim == 3
        above = Above(bundle, states[passed], passed, tokens_last=tokens).eval()
        hidden = states[passed]["hidden"].transpose(1, 2) if tokens else states[passed]["hidden"]
        cam = captum.LayerGradCam(above, above.at).attribute(
            hidden.detach().requires_grad_(), output, relu_attributions=True
        )
        made[GRAD_CAM] = cam[0, 0].detach().numpy()
    first = next(at for at, state in enumerate(states) if "hidden" in state)
    above, hidden = Above(bundle, states[first], first).eval(), states[first]["hidden"]
    found = captum.IntegratedGradients(above).attribute(
        hidden, torch.zeros_like(hidden), output, n_steps=STEPS, internal_batch_size=8
    )
    made[INTEGRATED] = found[0].sum(dim=-1 if hidden.ndim == 3 else 0).detach().numpy().astype(np.float32)
    return made


def _last_places(states: list[dict[str, Tensor]]) -> int | None:
    """How many stages lie below the state with the last grid; without one, below the last stage that reads tokens."""
    grids = [at for at, state in enumerate(states) if at and "hidden" in state and state["hidden"].ndim == 4]
    tokens = [at for at, state in enumerate(states[:-1]) if at and "hidden" in state and state["hidden"].ndim == 3]
    if tokens and (not grids or tokens[-1] > grids[-1]):
        return tokens[-1]
    return grids[-1] if grids else None


def _through(stages: Mapping[str, nn.Module], state: Mapping[str, Tensor], passed: int) -> Mapping[str, Tensor]:
    for stage in list(stages.values())[passed:]:
        state = _without_taps(stage(state))
    return state


def _without_taps(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith(TAP)}


def captum_library() -> Any:
    """Import `captum.attr`, with matplotlib's font cache in our cache folder.

    Raises:
        MissingExtra: captum is not installed.
    """
    keep_in_cache("MPLCONFIGDIR", "matplotlib")
    try:
        import captum.attr
    except ModuleNotFoundError as error:
        raise MissingExtra("captum", "explain", "Explaining a prediction") from error
    return captum.attr
