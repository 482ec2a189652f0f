"""A projector: a small network between the features and the loss, thrown away after training.

Features that a classifier reads directly are shaped for its classes alone, the more the longer it is trained; behind a
projector they keep more of what other tasks need. The head that is kept learns beside it, on features that it does not
shape.

Source: Wang et al. 2022, arXiv:2112.00496 (supervised pretraining transfers better with one): dense, batch norm,
rectifier, dense. That the head learns along instead of afterwards is our choice.
"""

from torch import Tensor, nn


class Projector(nn.Module):
    """Features (n d) -> logits (n c), by way of `hidden` values."""

    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits
