"""Requests drawn from the OpenAPI description of a server, whole and wrong: none ends in a 500, or in what it does not
describe."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
pytest.importorskip("python_multipart", reason="the extra `serve` is not installed")

from doors.serving import one_model, running

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
          "unsupported_method")  # fmt: skip
SECONDS = 60


@pytest.mark.slow
@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")
def test_whatever_the_description_allows_or_forbids_ends_as_described(tmp_path: Path) -> None:
    with running({"ants": one_model(tmp_path / "model")}) as server:
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json",
             "--max-time", str(SECONDS), "--seed", "1", "--generation-database", "none", "--continue-on-failure",
             "--checks", ",".join(CHECKS)],
            cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
