"""Groups that DICOM files name themselves: the patients. Shapes: n examples."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, UInt64

from regraft.contracts.example import Example
from regraft.values import Notice
from regraft.words import counted


def by_patient(
    examples: Sequence[Example], patients: UInt64[np.ndarray, " n"], others: Bool[np.ndarray, " n"]
) -> tuple[Sequence[Example], tuple[Notice, ...]]:
    """The examples grouped by patient where no group was given, and a notice of it.

    `patients` are the numbers that `dicom` makes of their ids, 0 where a file names none; such a file is alone.
    `others` are readable images that are not DICOM: with any, nothing is grouped. Nor is it where all are one patient:
    ids are often overwritten by a constant where files are made anonymous.
    """
    if not patients.any() or any(example.group is not None for example in examples):
        return examples, ()
    numbers = patients.tolist()
    num_patients, num_others, alone = len(set(numbers) - {0}), int(others.sum()), numbers.count(0)
    if num_others or num_patients < 2:
        why = f"{counted(num_others, 'other image')} names none" if num_others else "that tells nothing"
        text = f"The DICOM files name {counted(num_patients, 'patient')}; {why}, so nothing is grouped."
        return examples, (Notice(text=text, topic="data"),)
    grouped = tuple(
        replace(example, group=f"patient-{number:016x}") if number else example
        for example, number in zip(examples, numbers, strict=True)
    )
    text = f"Grouped by the {counted(num_patients, 'patient')} that the DICOM files name; instead of their ids, "
    text += "digests of them are kept."
    if alone:
        text += f" {counted(alone, 'file names', 'files name')} none: each is a group of its own."
    return grouped, (Notice(text=text, topic="data"),)
