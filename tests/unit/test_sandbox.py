"""How the sandbox's base image is made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from invoke import Context, Exit

import tasks
from tests.sandbox import base, engine


@pytest.mark.parametrize("missing", ["debootstrap", "keyring", ""])
def test_no_package_is_taken_whose_signature_was_not_checked(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Ubuntu debootstrap comes without Debian's keys, and by itself it goes on without them."""
    keyring = tmp_path / "debian.gpg"
    if missing != "keyring":
        keyring.touch()
    commands: list[list[str]] = []
    installed: list[str] = []
    monkeypatch.setattr(base, "KEYRING", keyring)
    monkeypatch.setattr(base, "logged", commands.append)
    monkeypatch.setattr(base, "apt_update", lambda: None)
    monkeypatch.setattr(base, "apt_install", lambda say, *names: installed.extend(names))
    monkeypatch.setattr(base, "_slim", lambda root: None)
    monkeypatch.setattr(base, "_import", lambda root, tag: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == missing else f"/bin/{name}")
    base.import_base("x:latest", lambda text: None)
    assert installed == (["debootstrap", "debian-archive-keyring", "gpgv"] if missing else [])
    ((program, *arguments),) = commands
    assert program == "debootstrap"
    assert {"--force-check-gpg", f"--keyring={keyring}"} <= set(arguments)


def test_who_may_not_use_docker_is_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not to report it."""
    socket = tmp_path / "docker.sock"
    socket.touch()
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "SOCKET", socket)
    monkeypatch.setattr(engine, "engine_answers", lambda: False)
    monkeypatch.setattr(os, "access", lambda path, mode: path != socket)
    with pytest.raises(Exit) as told:
        tasks.demo(Context())
    expected = "error: you may not use Docker here\n  -> sudo usermod --append --groups docker $USER, then log in again"
    assert (told.value.message, told.value.code) == (expected, 1)
