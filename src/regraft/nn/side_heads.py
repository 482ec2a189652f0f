"""GoogLeNet's auxiliary classifiers.

Letters: n examples, c channels, h and w height and width of the grid, k classes.
Source: Szegedy et al. 2014, arXiv:1409.4842, section 5. Names of the layers and the adaptive pool: torchvision.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regraft.nn.inception import ConvUnit, Variant, scaled
from regraft.nn.initialise import initialise

GRID = 4
"""Rows and columns that the pool leaves: 14 x 14 becomes 4 x 4."""


class SideHead(nn.Module):
    """A small classifier on an inner stage: pool to 4x4, 1x1 convolution, two dense layers.

    It is trained beside the main head and thrown away. `width` scales its filters and its hidden units, of which the
    paper has 128 and 1024; `dropout` lies before the last layer.
    """

    def __init__(
        self, in_channels: int, num_outputs: int, *, variant: Variant, width: float = 1.0, dropout: float = 0.7
    ) -> None:
        super().__init__()
        filters, hidden = scaled(128, width), scaled(1024, width)
        self.window = variant.side_window
        self.conv = ConvUnit(in_channels, filters, 1, batch_norm=variant.batch_norm)
        self.fc1 = nn.Linear(filters * GRID * GRID, hidden)
        self.fc2 = nn.Linear(hidden, num_outputs)
        self.dropout = nn.Dropout(dropout)
        initialise(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        fits = all((side - 5) // 3 + 1 == GRID for side in x.shape[2:])
        pooled = functional.avg_pool2d(x, 5, 3) if self.window and fits else functional.adaptive_avg_pool2d(x, GRID)
        hidden = functional.relu(self.fc1(self.conv(pooled).flatten(1)))
        logits: Tensor = self.fc2(self.dropout(hidden))
        return logits
