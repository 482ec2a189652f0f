"""Whether torch gives a row other bits at another place of the batch.

Seen where small matrices are multiplied in batches (attention on 9 tokens of 8 numbers): the library under torch takes
its steps by how each matrix lies in memory (MKL on an AMD processor). Such a network is run a row at a time.

Asked of a network with drawn weights, not with the backbone's own: the answer follows from shapes and kernels, and has
to be the same for all backbones of one build, because those that differ above a cut share the rows below it.
"""

import numpy as np
import torch

from regraft.activations._backends import BATCH, TorchRunner
from regraft.activations._prefix import Prefix, Shapes, example_tensors
from regraft.backbones.backbone import Backbone
from regraft.contracts.family import built


def place_matters(backbone: Backbone, shapes: Shapes, *, device: str, threads: int) -> bool:
    """Whether equal rows of one batch come out different after all stages. Leaves the random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = built(backbone.family, backbone.card).network.eval()
    top = list(network.stages)[-1]
    prefix = Prefix(network, (top,), view="", inputs=tuple(shapes)).eval()
    examples = example_tensors(shapes, 1)
    same = {name: np.repeat(tensor.numpy(), BATCH, axis=0) for name, tensor in zip(shapes, examples, strict=True)}
    found = TorchRunner(prefix, examples, device, threads, alone=False)(same)[top]
    rows = [array for name, array in found.items() if name not in network.shared]
    return any(row.tobytes() != array[0].tobytes() for array in rows for row in array)
