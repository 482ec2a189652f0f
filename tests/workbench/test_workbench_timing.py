"""Seconds and memory of a run."""

import subprocess
import sys

import pytest

SMALL = "from regraft.workbench._machine import peak_memory_bytes; print(peak_memory_bytes())"
LARGE = (
    f"import subprocess, sys; held = bytearray(b'x' * 400_000_000); subprocess.run([sys.executable, '-c', {SMALL!r}])"
)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own figure is taken as it is")
def test_the_peak_is_the_processs_own_not_that_of_the_one_that_started_it(child_env: dict[str, str]) -> None:
    told = subprocess.run([sys.executable, "-c", LARGE], env=child_env, capture_output=True, text=True, check=True)
    assert 10_000_000 < int(told.stdout) < 300_000_000
