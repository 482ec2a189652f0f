"""Where torch works, found out without importing torch where there can be no accelerator."""

import os
import shutil

from regraft.errors import BadRequest


def choose_device(wanted: str) -> str:
    """The device of that name; `auto` is CUDA where it works, else the CPU.

    Apple's `mps` is used only when asked for (our choice: small tails are no faster there).

    Raises:
        BadRequest: the device asked for does not work here.
    """
    if wanted == "cpu" or (wanted == "auto" and not shutil.which("nvidia-smi")):
        return "cpu"
    import torch

    works = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return "cuda" if works["cuda"] else "cpu"
    if not works.get(wanted.partition(":")[0]):
        here = ["cpu", *(name for name, there in works.items() if there)]
        raise BadRequest(f"The device {wanted!r} does not work here.", fix=f"choose one of: auto, {', '.join(here)}.")
    return wanted


def num_threads(wanted: int) -> int:
    """CPU threads to use: those asked for, else the cores this process may use."""
    if wanted > 0:
        return wanted
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
