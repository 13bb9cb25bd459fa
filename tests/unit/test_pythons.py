"""What `./inv lint` asks of each Python."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from fabfile.errors import StepError
from fabfile.settings import HOME
from tests.lint import pythons

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_the_oldest_is_the_one_that_pyproject_names() -> None:
    oldest = re.search(r'(?m)^requires-python = ">=(.*)"$', (HOME / "pyproject.toml").read_text("utf-8"))
    assert oldest is not None
    assert oldest[1] == pythons.SUPPORTED[0]


def test_an_interpreter_must_be_of_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyenv puts a `python3.12` on PATH that only says that there is none."""
    shim, real = tmp_path / "bin/python3.98", tmp_path / "pyenv/versions/3.98.1/bin/python"
    for file, text in ((shim, "echo none >&2; exit 127"), (real, "echo 3.98")):
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent), prepend=":")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert pythons.interpreter("3.98") == ""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert pythons.interpreter("3.98") == str(real)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that is sent to the server."""
    file = tmp_path / "fabfile/onhost/part.py"
    file.parent.mkdir(parents=True)
    (tmp_path / "fabfile/layout.py").touch()
    monkeypatch.setattr(pythons, "HOME", tmp_path)
    return file


@pytest.mark.parametrize(
    ("text", "words"),
    [("import json\n", ""), ("import invoke\n", "No module named 'invoke'"), ("from .. import errors\n", "errors"),
     ("from json import no_such\n", "no_such")],
)  # fmt: skip
def test_what_is_sent_has_the_standard_library_alone(
    text: str, words: str, code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code.write_text(text)
    if not words:
        pythons.sent(OWN, sys.executable, tmp_path / "alone")
        return
    with pytest.raises(StepError, match=f"Python {OWN}"):
        pythons.sent(OWN, sys.executable, tmp_path / "alone")
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("text", ["def f(:\n", 'x = "\\d"\n'])
def test_code_that_is_none_is_refused(text: str, code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code.write_text(text)
    with pytest.raises(StepError, match=f"Python {OWN}"):
        pythons.compiled(OWN, sys.executable)
    assert "part.py" in capsys.readouterr().out
