"""How threads of the arithmetic wait for one another, settled before torch is loaded."""

import os


def wait_asleep() -> None:
    """Let OpenMP's threads sleep rather than spin while they wait, unless the user's OMP_WAIT_POLICY says otherwise.

    Two threads that spin on a busy machine hold each other up: GoogLeNet trained at 11 to 17 inputs a second beside one
    other busy process, and at 300 to 460 with threads that sleep (docs/results/step.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
