"""Model values for the tests in this folder."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

_FOUND = runpy.run_path(str(Path(__file__).parents[1] / "nouns.py"))
_NOUNS = SimpleNamespace(**{name: value for name, value in _FOUND.items() if not name.startswith("__")})


@pytest.fixture(scope="session")
def nouns() -> SimpleNamespace:
    """Everything of tests/nouns.py."""
    return _NOUNS
