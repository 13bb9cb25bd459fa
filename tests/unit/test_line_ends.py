"""A clone on Windows, or with core.autocrlf: carriage returns run nowhere, and none reaches a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fabfile.settings import HOME

# Arguments: a .env, and the directory that it puts what `sync` would bring into.
RENDER = """
import pathlib, sys
from fabfile.settings import load
from fabfile.stack import capacity, templates
machine = capacity.derived({"memory": 2 << 30, "cores": 2})
for name, file in templates.tree(load(pathlib.Path(sys.argv[1])), machine).items():
    path = pathlib.Path(sys.argv[2], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    path.chmod(file.mode)
"""
SETTINGS = b"REGISTRY_DOMAIN=registry.example.org\r\nACME_EMAIL=you@example.org\r\nREGISTRY_USER=admin\r\n"


def listed() -> list[str]:
    """What git would give to somebody else."""
    names = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(names, cwd=HOME, capture_output=True, text=True, check=True).stdout
    return [name for name in found.split("\0") if name and (HOME / name).exists()]


def copied(to: Path) -> Path:
    for name in listed():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(HOME / name, to / name, follow_symlinks=False)
    return to


def rendered(clone: Path, to: Path) -> dict[str, bytes]:
    """What `sync` of that clone would bring to a server, with hooks and a certificate of one's own."""
    env = clone / ".env"
    env.write_bytes(SETTINGS)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(clone)}
    argv = [sys.executable, "-B", "-c", RENDER, str(env), str(to)]
    subprocess.run(argv, cwd=clone, env=environment, check=True)
    return {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()}


def test_a_clone_with_autocrlf_has_no_carriage_return(tmp_path: Path) -> None:
    source = copied(tmp_path / "source")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.autocrlf=false"]
    for argv in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *argv], cwd=source, check=True)
    clone = tmp_path / "clone"
    # Git for Windows makes no links either.
    options = ["-c", "core.autocrlf=true", "-c", "core.symlinks=false"]
    subprocess.run(["git", "clone", "-q", *options, str(source), str(clone)], check=True)
    with_returns = [name for name in listed() if b"\r\n" in (clone / name).read_bytes() and not name.endswith(".png")]
    assert with_returns == []
    no_python = tmp_path / "bin/python3"
    no_python.parent.mkdir()
    no_python.write_text("#!/bin/sh\nexit 1\n")
    no_python.chmod(0o755)
    for launcher in ("fab", "inv"):
        # It starts, and looks for a Python: with one .venv would take a quarter of a minute.
        environment = {"PATH": f"{no_python.parent}:{os.environ['PATH']}"}
        done = subprocess.run([clone / launcher], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.partition(" (")[0]) == (2, "error: Python 3.10 or later is needed")


def test_carriage_returns_of_any_clone_stay_on_the_laptop(tmp_path: Path) -> None:
    clone = copied(tmp_path / "clone")
    hooks = clone / "deploy/certbot/hooks"
    hooks.mkdir(parents=True)
    (hooks / "dns-auth").write_bytes(b"#!/bin/sh\necho\n")
    (clone / "deploy/nginx/override.conf").write_bytes(b"# mine\n")
    for path in clone.rglob("*"):
        if path.is_file() and b"\0" not in path.read_bytes():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    tree = rendered(clone, tmp_path / "tree")
    assert {"inv", "compose.yml", "certbot/hooks/dns-auth", "nginx/override.conf"} <= tree.keys()
    # lib.zip is no text.
    assert [name for name, content in tree.items() if b"\r" in content and name != "lib.zip"] == []
    done = subprocess.run([tmp_path / "tree/inv", "--list"], capture_output=True, text=True, check=True)
    assert "renew" in done.stdout


def test_the_launcher_is_the_same_by_both_names() -> None:
    assert all(not (HOME / name).is_symlink() for name in ("fab", "inv"))
