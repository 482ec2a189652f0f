"""Killed at random moments, a command that is started again leaves what the unbroken one leaves."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="commands run in forked processes")


def kills(count: int, child_env: dict[str, str]) -> str:
    script = Path(__file__).with_name("kills.py")
    done = subprocess.run(
        [sys.executable, str(script), str(count)], env=child_env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_of_two_hundred_kills_none_changes_the_report_or_the_weights(
    child_env: dict[str, str], record_property: Callable[[str, object], None]
) -> None:
    record_property("kills", kills(200, child_env))


@pytest.mark.slow
def test_one_kill_of_each_command_changes_neither_report_nor_weights(child_env: dict[str, str]) -> None:
    assert "\n13 kills, 0 of them with another outcome" in kills(13, child_env)
