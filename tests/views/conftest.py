"""Model values, and views that an independent validator checks too where OOMBOT_VALIDATOR names one."""

import importlib.util
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from oombot.views import Views

_FOUND = runpy.run_path(str(Path(__file__).parents[1] / "nouns.py"))
_NOUNS = SimpleNamespace(**{name: value for name, value in _FOUND.items() if not name.startswith("__")})
_TEMPLATES = Path(__file__).parents[2] / "templates"


def _validator():
    path = os.environ.get("OOMBOT_VALIDATOR")
    if not path:
        return None
    spec = importlib.util.spec_from_file_location("second_opinion", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.check


class CheckedViews(Views):
    """Views with a second opinion on everything they render; its warnings count."""

    check = staticmethod(_validator() or (lambda _view: []))

    def render(self, name, context):
        view = super().render(name, context)
        assert list(self.check(view)) == []
        return view


@pytest.fixture(scope="session")
def nouns() -> SimpleNamespace:
    """Everything of tests/nouns.py."""
    return _NOUNS


@pytest.fixture(scope="session")
def templates() -> dict[str, str]:
    """The texts of the templates by file name."""
    return {path.name: path.read_text(encoding="utf-8") for path in _TEMPLATES.glob("*.j2")}


@pytest.fixture(scope="session")
def views(templates) -> Views:
    """The views of the product."""
    return CheckedViews(templates)
