"""Dataclasses as JSON and back."""

import pytest

from regraft.records import to_json


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set cannot be converted to JSON"):
        to_json({"a": {1}})
