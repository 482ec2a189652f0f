"""The import of torchvision, whole or without its compiled operators."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import regraft
from regraft.nn.torchvision import torchvision_models


def test_the_models_are_there_however_torch_and_torchvision_were_built() -> None:
    code = """
from regraft.nn.torchvision import torchvision_models
first = torchvision_models()
assert torchvision_models() is first
print(first.__name__, first.resnet18(weights=None).fc.out_features)
"""
    env = {**os.environ, "PYTHONPATH": str(Path(regraft.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "torchvision.models 1000"


def test_a_working_torchvision_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a proper install: its import succeeds, so nothing may be declared."""
    stand_in, declared = ModuleType("torchvision.models"), []
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", stand_in)
    monkeypatch.setattr(torch.library, "define", lambda *schema: declared.append(schema))
    assert torchvision_models() is stand_in
    assert declared == []


def test_another_failure_of_the_import_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision_models()  # from here on no operator is missing

    def broken(name: str) -> ModuleType:
        raise RuntimeError("broken install")

    monkeypatch.setattr("regraft.nn.torchvision.import_module", broken)
    with pytest.raises(RuntimeError, match="broken install"):
        torchvision_models()
