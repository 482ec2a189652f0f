"""Whisper's encoder: two convolutions over time, sinusoidal positions, pre-norm transformer layers.

Parameter names are those of transformers' `WhisperEncoder`, so its state dicts load. The number of frames may be any
even number up to twice the number of positions: unused positions are dropped for shorter inputs, which makes three
seconds ten times as fast as the thirty used in training.

Letters: n examples, m mel bands, f frames, t tokens (f / 2), d features. Source: Radford et al. 2022, arXiv:2212.04356,
section 2.2.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from regraft.errors import BadRequest


class Attention(nn.Module):
    """Full self-attention; keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Float[Tensor, "n t d"]) -> Float[Tensor, "n t d"]:
        def split(y: Tensor) -> Tensor:
            return y.view(*y.shape[:2], self.heads, -1).transpose(1, 2)

        queries, keys, values = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        weights = (queries @ keys.transpose(2, 3) * (x.shape[2] // self.heads) ** -0.5).softmax(dim=3)
        attended: Tensor = self.out_proj((weights @ values).transpose(1, 2).flatten(2))
        return attended


class Layer(nn.Module):
    """Self-attention and two linear layers, each pre-normalised and with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = Attention(width, heads), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "n t d"]) -> Float[Tensor, "n t d"]:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(gelu(self.fc1(self.final_layer_norm(x))))


class Listening(nn.Module):
    """The first stage: two convolutions, the second with stride 2, and position embeddings."""

    def __init__(self, conv1: nn.Conv1d, conv2: nn.Conv1d, positions: nn.Embedding) -> None:
        super().__init__()
        self.conv1, self.conv2, self.positions = conv1, conv2, positions

    def forward(self, mel: Float[Tensor, "n m f"]) -> Float[Tensor, "n t d"]:
        x = gelu(self.conv2(gelu(self.conv1(mel)))).transpose(1, 2)
        if x.shape[1] > len(self.positions.weight):
            raise BadRequest(
                f"A piece is {mel.shape[2] / 100:g} s long, and this network hears at most "
                f"{len(self.positions.weight) / 50:g} s.",
                fix="lower prepare.seconds, which recordings longer than that are cut to.",
            )
        return x + self.positions.weight[: x.shape[1]]


class WhisperEncoder(nn.Module):
    """The whole encoder; its positions are the paper's and not trained.

    New parameters are drawn from torch's global generator.
    """

    def __init__(self, *, bands: int = 80, width: int = 384, layers: int = 4, heads: int = 6, positions: int = 1500):
        super().__init__()
        self.conv1 = nn.Conv1d(bands, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(positions, width, _weight=sinusoids(positions, width), _freeze=True)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(width)

    def stages(self) -> dict[str, nn.Module]:
        """Return the stages `conv`, then `layer.0` …, the last with the final norm; they hold this module's
        parameters."""
        first, names = Listening(self.conv1, self.conv2, self.embed_positions), [*range(len(self.layers))]
        stages: dict[str, nn.Module] = {"conv": first, **{f"layer.{at}": self.layers[at] for at in names}}
        stages[f"layer.{names[-1]}"] = nn.Sequential(self.layers[-1], self.layer_norm)
        return stages

    def forward(self, mel: Float[Tensor, "n m f"]) -> Float[Tensor, "n t d"]:
        x = mel
        for stage in self.stages().values():
            x = stage(x)
        return x


def sinusoids(positions: int, width: int) -> Float[Tensor, "t d"]:
    """Return sines, then cosines, of every position, with `width / 2` wavelengths from 2 pi to 10,000 times that."""
    steps = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(positions)[:, None] * steps[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
