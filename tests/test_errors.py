"""Every error is of one family and says what to do."""

import inspect
import re
import subprocess
import sys

import pytest

from regraft import errors
from regraft.errors import MissingExtra, RegraftError, UnknownCut, UnknownName, nearest

FAMILY = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)
]  # fmt: skip


def test_the_tree_in_the_docstring_is_the_family() -> None:
    drawn = re.findall(r"^[\s│├└─]*([A-Z]\w+) {2,}\S", errors.__doc__ or "", flags=re.MULTILINE)
    assert sorted(drawn) == sorted(kind.__name__ for kind in FAMILY)


def test_every_error_is_of_the_family_and_says_what_it_is() -> None:
    assert all(issubclass(kind, RegraftError) and kind.__doc__ for kind in FAMILY)


def test_an_error_shows_its_message_and_what_to_do() -> None:
    assert str(RegraftError("Row 3 is empty.", fix="remove it.")) == "Row 3 is empty.\n  fix: remove it."


def test_an_error_cannot_be_made_without_what_to_do() -> None:
    with pytest.raises(TypeError, match="fix"):
        RegraftError("Row 3 is empty.")


def test_the_nearest_name_is_offered() -> None:
    assert UnknownName("strategy", "lorra", ["probe", "lora"]).fix == "did you mean 'lora'?"
    assert nearest("lorra", ["lora"]) == "did you mean 'lora'?"


def test_all_names_are_offered_in_order_where_none_is_near() -> None:
    assert UnknownName("strategy", "xyz", ["probe", "lora"]).fix == "choose one of: lora, probe."


def test_an_unknown_cut_lists_the_cuts_from_input_to_output() -> None:
    error = UnknownCut("googlenet", "imput", ["input", "4d", "4e", "output"])
    assert "its cuts are input, 4d, 4e, output" in error.message
    assert error.fix == "did you mean 'input'?"


def test_a_missing_extra_says_which_command_installs_it() -> None:
    error = MissingExtra("pyarrow", "tables", "A parquet manifest")
    assert "'pyarrow'" in error.message
    assert error.fix == "pip install 'regraft[tables]'"


def test_errors_load_nothing_heavy(child_env: dict[str, str]) -> None:
    code = "import sys, regraft.errors; print([m for m in ('numpy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=child_env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
