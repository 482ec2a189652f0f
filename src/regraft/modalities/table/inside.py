"""Standardisation as a module, for the graph of an export. Letters: n rows, d columns."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regraft.modalities.table.prepare import FARTHEST, Preparation


class Standardised(nn.Module):
    """Standardise `values` (n d), NaN if missing, like `Preparation.standardised`. Computes in double precision, since
    a mean may be large relative to the standard deviation."""

    means: Float[Tensor, " d"]
    deviations: Float[Tensor, " d"]

    def __init__(self, preparation: Preparation) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(preparation.means, dtype=torch.float64))
        self.register_buffer("deviations", torch.tensor(preparation.deviations, dtype=torch.float64))

    def forward(self, record: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = (record["values"].double() - self.means) / self.deviations
        values = torch.where(values.isnan(), torch.zeros_like(values), values)
        return {"values": values.clamp(-FARTHEST, FARTHEST).float()}
