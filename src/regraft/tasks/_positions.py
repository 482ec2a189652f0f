"""Labels of which every example has one, as positions among the classes. Shapes: n examples."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from regraft.errors import BadData, nearest


def positions_of(labels: Sequence[str], classes: tuple[str, ...]) -> Int[np.ndarray, "n"]:
    """The position of each label in `classes`.

    Raises:
        BadData: a label is not one of the classes; the nearest is offered.
    """
    position = {name: i for i, name in enumerate(classes)}
    for label in labels:
        if label not in position:
            raise BadData(
                f"The label {label!r} is not one of the model's classes ({', '.join(classes)}).",
                fix=nearest(label, list(classes)),
            )
    return np.array([position[label] for label in labels], dtype=np.int64)
