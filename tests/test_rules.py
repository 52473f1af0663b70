"""The house rules, as tests: what reviewers would otherwise have to remember."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from oombot import catalog
from oombot.config import Settings
from oombot.installation import sources
from oombot.lifecycle import TRANSITIONS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "oombot"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "data" not in path.relative_to(PACKAGE).parts)
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
QUOTES = '"'
ASYNC_PLACES = (
    "app.py",
    "demo.py",
    "examination.py",
    "pit.py",
    "ports.py",
    "engine",
    "adapters",
    "workspace",
    "migrations",
    "cli",
)
MAX_MODULE, MAX_FUNCTION = 400, 60


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def name(path: Path) -> str:
    """The path as shown in a test's id."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_async_stays_at_the_rim(path: Path) -> None:
    """Only the rim of the package is async; the core is plain functions of values."""
    if path.relative_to(PACKAGE).parts[0] in ASYNC_PLACES:
        return
    assert [node.name for node in functions(path) if isinstance(node, ast.AsyncFunctionDef)] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module_has_a_sentence_and_fits(path: Path) -> None:
    """Every module says what it is, in no more lines than one can read at once."""
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= MAX_MODULE


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_functions_fit_and_say_what_they_return(path: Path) -> None:
    """No function is longer than a screen, and each annotates its return."""
    for node in functions(path):
        assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION, node.name
        assert node.returns is not None, node.name


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_public_names_have_a_docstring(path: Path) -> None:
    """Every public class, function and method of the package says what it does."""
    for owner in ast.walk(ast.parse(path.read_text())):
        if not isinstance(owner, ast.Module | ast.ClassDef):
            continue
        if isinstance(owner, ast.ClassDef) and owner.name.startswith("_"):
            continue
        for node in owner.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                assert node.name.startswith("_") or ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_dataclasses_are_frozen(path: Path) -> None:
    """Values do not change: every dataclass outside the workspace's state is frozen."""
    if "workspace" in path.parts:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for decorator in node.decorator_list:
                if "dataclass" in ast.unparse(decorator):
                    assert "frozen=True" in ast.unparse(decorator), node.name


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_tests_have_a_sentence_and_patch_nothing(path: Path) -> None:
    """Every test states the fact it proves; a patch would mean that a seam is missing."""
    text = path.read_text()
    for node in functions(path):
        if node.name.startswith("test_"):
            assert ast.get_docstring(node), node.name
    if path.name != Path(__file__).name:
        assert not re.search(r"mock\.patch|mocker\.|monkeypatch\.setattr|unittest\.mock", text)


def test_every_remediation_has_a_readme_row() -> None:
    """The README's table of remedies is complete."""
    readme = (ROOT / "README.md").read_text()
    for remedy in catalog.remediations():
        assert f"| `{remedy}` |" in readme


def test_every_setting_stands_in_the_readme() -> None:
    """The README's table of settings names every top-level key of the configuration."""
    readme = (ROOT / "README.md").read_text()
    for key in Settings.model_fields:
        assert re.search(rf"`{key}[`.\[]", readme), key


def test_readme_is_short() -> None:
    """A README that is not read helps nobody: 200 lines at most."""
    assert (ROOT / "README.md").read_text().count("\n") <= 200


def test_nothing_names_a_registry() -> None:
    """Pins carry names and versions only."""
    for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line


def test_docs_draw_the_lifecycle() -> None:
    """The table of states in the docs is the one in the code."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    drawn = text.split("<!-- lifecycle -->")[1].split("<!-- /lifecycle -->")[0].strip().splitlines()
    rows = [f"| {state} | {', '.join(sorted(moves))} |" for state, moves in TRANSITIONS.items() if moves]
    assert drawn == ["| from | to |", "|---|---|", *rows]


def test_docs_list_the_parts_of_the_programs_of_a_host() -> None:
    """Every part stands in the docs, with the programs that hold it and the sentence that its file begins with."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    drawn = text.split("<!-- parts -->")[1].split("<!-- /parts -->")[0].strip().splitlines()
    programs = {"read": "oombot_read", "act": "oombot_helper", "look": "oombot_look"}
    held = {said: sources.parts_of(program) for said, program in programs.items()}
    rows = [
        f"| `{part.stem}` | {', '.join(said for said in held if part.stem in held[said])} "
        f"| {part.read_text().splitlines()[0].strip(QUOTES)} |"
        for part in sorted((PACKAGE / "data").glob("oombot_*.py"))
    ]
    assert drawn == ["| part | of | what it is |", "|---|---|---|", *rows]


def test_docs_draw_the_layers() -> None:
    """The layers in the docs are those that the import contract enforces, in its order."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    drawn = text.split("<!-- layers -->")[1].split("<!-- /layers -->")[0].strip().strip("`").strip()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert [re.split(r"  +", line)[0] for line in drawn.splitlines()] == layers
