"""What both sides and the templates know alike is told once: in fabfile/layout.py."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.settings import HOME, Settings
from fabfile.stack import capacity, templates

LAYOUT = HOME / "fabfile/layout.py"
PROGRAMS = sorted({*(HOME / "fabfile").rglob("*.py")} - {LAYOUT})
TEXTS = sorted([*(HOME / "fabfile").rglob("*.sh"), *(HOME / "deploy").rglob("*.j2")])
SERVICES = {value for name, value in vars(layout.Service).items() if name.isupper() and isinstance(value, str)}
# Where a word is something else, or nothing of ours can be imported yet.
ALLOWED = {
    ("fabfile/__main__.py", "lib.zip"),  # the libraries are what it makes importable
    ("fabfile/old_registry/onhost/found.py", "nginx"),  # in the name of anybody's image
    ("fabfile/stack/onhost/containers.py", "nginx"),  # the program
    ("fabfile/certificate/alerts.py", "registry"),  # what a message calls one without a name
    ("fabfile/store/onhost/index.py", "registry"),  # a key of a list of the page
    ("fabfile/steps/status.py", "registry"),  # a key of what `status --json` prints
}


def values(space: object) -> Iterator[str]:
    for name, value in vars(space).items():
        if name.isupper() and isinstance(value, str):
            yield value


def marked() -> set[str]:
    """What can be nothing else wherever it stands: a path, or a file of a name like no other."""
    found = {*values(layout), *values(layout.Inside)}
    return {text for text in found if "/" in text[1:] or "." in text[1:] or text == layout.PROJECT}


def literals(path: Path) -> Iterator[str]:
    """Every text in a program that it uses: docstrings are for people."""
    tree = ast.parse(path.read_text("utf-8"))
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def named(facts: Iterable[str], text: str) -> list[str]:
    """Which of the facts a text names, and not what only begins or ends like one (docker-compose.yml)."""
    known = "|".join(re.escape(fact) for fact in sorted(facts, key=len, reverse=True))
    return re.findall(rf"(?<![\w-])({known})(?![\w-])", text)


def lines(path: Path) -> Iterator[str]:
    """The lines of a template or a script, without its comments."""
    return (line for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("#"))


def test_a_path_stands_in_no_other_module() -> None:
    found = {
        (str(path.relative_to(HOME)), fact)
        for path in PROGRAMS
        for text in literals(path)
        for fact in named(marked(), text)
    }
    assert found - ALLOWED == set()


def test_a_path_stands_in_no_template_and_no_script() -> None:
    found = {
        (str(path.relative_to(HOME)), fact) for path in TEXTS for line in lines(path) for fact in named(marked(), line)
    }
    assert found == set()


def test_a_service_is_named_by_no_other_module() -> None:
    """The words alone: as parts of sentences they are prose."""
    found = {(str(path.relative_to(HOME)), text) for path in PROGRAMS for text in literals(path) if text in SERVICES}
    assert found - ALLOWED == set()


def test_every_exception_is_needed() -> None:
    for name, fact in ALLOWED:
        assert any(named([fact], text) for text in literals(HOME / name)), (name, fact)


def test_a_lowest_version_is_compared_and_told_in_no_other_module() -> None:
    numbers = [layout.MIN_DOCKER, layout.MIN_COMPOSE, layout.MIN_PYTHON]
    for path in [*PROGRAMS, *TEXTS]:
        texts = literals(path) if path.suffix == ".py" else lines(path)
        assert not named(map(layout.version, numbers), "\n".join(texts)), path
    for path in PROGRAMS:
        pairs = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Tuple)]
        assert not {ast.unparse(pair) for pair in pairs} & {str(each) for each in numbers}, path


@pytest.mark.parametrize("page", ["docs/requirements.md", "docs/ru/requirements.md"])
def test_people_are_told_the_same_versions(page: str) -> None:
    text = (HOME / page).read_text("utf-8")
    for name, numbers in (
        ("Docker", layout.MIN_DOCKER),
        ("Compose", layout.MIN_COMPOSE),
        ("Python", layout.MIN_PYTHON),
    ):
        assert named([f"{name} {layout.version(numbers)}"], text), name


def test_what_comes_before_python_asks_for_the_same_python() -> None:
    python = layout.version(layout.MIN_PYTHON)
    assert f'requires-python = ">={python}"' in (HOME / "pyproject.toml").read_text("utf-8")
    assert f"Python {python} or later" in (HOME / "fab").read_text("utf-8")


def test_the_services_are_those_of_compose_yml(settings: Settings) -> None:
    text = templates.tree(settings, capacity.derived({"memory": 2 << 30, "cores": 2}))[layout.COMPOSE_FILE].content
    services = text.decode().partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
    assert set(re.findall(r"^  ([a-z]+):$", services, re.M)) == SERVICES == {*layout.Service.SERVING, "certbot"}


def test_parts_of_a_lifetime_are_told_in_one_module() -> None:
    """As they are written: 0.35, 1 / 3."""
    facts = {"0.98", "0.52", "0.35", "1 / 3", "1 / 5"}
    found: dict[str, set[str]] = {}
    for path in PROGRAMS:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.Constant, ast.BinOp)) and (text := ast.unparse(node)) in facts:
                found.setdefault(text, set()).add(path.name)
    assert found == {text: {"lifetime.py"} for text in facts}


def test_cron_is_looked_for_in_one_way() -> None:
    """Its name among the processes: in a script, as Python may be missing, that Python runs as well."""
    asking = re.compile(r"-e cron\b|\bcrond\b")
    found = [path.name for path in (*PROGRAMS, *TEXTS) if asking.search("\n".join(lines(path)))]
    assert found == ["cron_runs.sh", "provision.sh"]  # which asks whether it is installed


def test_docker_compose_is_called_where_it_runs_alone() -> None:
    """No command of it is made on one machine to be carried to another."""
    found = {
        str(path.relative_to(HOME))
        for path in PROGRAMS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.List, ast.Tuple)) and ast.unparse(node).strip("[(").startswith("'docker', 'compose'")
    }
    assert found == {"fabfile/stack/onhost/containers.py"}
