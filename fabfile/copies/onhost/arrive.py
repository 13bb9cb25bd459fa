"""On the new server, while a registry moves: the copy on the old one is fetched, looked at, and put in place.

First the links and the small files, then the blobs that they name and that are not here. Each blob is read and compared
with its digest before it is moved into the store, and only then do links come that name it. What is here becomes what
is there: the new server takes no pushes meanwhile (relay.py), so nothing of its own can be lost.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

from ...layout import ATTEMPTS, AUTH, CERTIFICATES, COPY_IN, DATA, HTTP_SECRET, IN_DATA, LOCK, STORE
from ...machine.onhost import owner
from ...machine.onhost import store as disk
from ...machine.onhost.atomic import RefusedError, locked, told_remedy
from ...machine.onhost.owner import NGINX, REGISTRY
from ...stack.onhost import nginx, relay
from ...store.onhost import handles, walk
from ...store.onhost.manifests import DIGEST
from . import inside, needed, putback

# A run of which the command was killed may be at it yet: what it reads from goes away, so it ends soon.
WAIT = 60.0
PULL_LOCK = f"{LOCK}.pull"
OPTIONS = (
    "--recursive", "--links", "--times", "--perms", "--chmod=go=", "--modify-window=-1",
    "--partial-dir=.rsync-partial", "--stats", "--no-human-readable",
)  # fmt: skip
# What is brought of all that lies beside the images; settings and the rest come from the operator, by `sync`.
BESIDE = (AUTH, HTTP_SECRET, CERTIFICATES, ATTEMPTS)


class Arrived(TypedDict):
    """Of one pass. blobs: how many came, each with its digest; sent: bytes on the way; bad: digests that did not come
    whole, or not at all.
    """

    blobs: int
    sent: int
    bad: list[str]


def pull(directory: str, shell: list[str]) -> Arrived:
    """Fetch the copy that waits, and put its blobs into the store. What came in an earlier pass is not sent again.

    shell: the command that rsync logs in to the old server with; the last word is its address. Raises RefusedError for
    a cut, from which the next one goes on, and for a full disk.
    """
    root = Path(directory)
    disk.require(root)
    with locked(Path(PULL_LOCK), WAIT), handles.refused(), inside.opened(root, COPY_IN) as come:
        place = inside.path(come)
        *command, host = shell
        source = f"{host}:./"
        blobs = f"--exclude=/{STORE}/blobs"
        sent = _rsync(command, ["--delete", blobs, source, f"{place}/"], "")
        lacking = putback.lacking(directory, sorted(_digests(come)), read=False)
        names = [f"{STORE}/{_blob(digest)}/data" for digest in lacking]
        bad: list[str] = []
        if names:
            files = ["--files-from=-", "--from0", "--ignore-missing-args", source, f"{place}/"]
            sent += _rsync(command, files, "\0".join(names))
            bad = putback.put(directory, [], lacking, whole=False, keep=True)["bad"]
            for digest in bad:
                # Of the right size and time it would not be sent again.
                (place / STORE / _blob(digest) / "data").unlink(missing_ok=True)
        return {"blobs": len(lacking) - len(bad), "sent": sent, "bad": bad}


def _blob(digest: str) -> str:
    algorithm, _, name = digest.partition(":")
    return f"blobs/{algorithm}/{name[:2]}/{name}"


def _rsync(command: list[str], ways: list[str], files: str) -> int:
    """One run; returns the bytes that came."""
    # As rsync takes its `-e` apart: words, with quotes as in a shell.
    shell = " ".join(_word(word) for word in command)
    argv = ["rsync", *OPTIONS, "--rsh", shell, *ways]
    try:
        done = subprocess.run(
            argv, input=files, capture_output=True, text=True, errors="replace", check=False,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError:
        raise RefusedError("there is no rsync", "./fab -H … provision") from None
    if done.returncode == 0:
        found = re.search(r"^Total bytes received: ([\d,]+)", done.stdout, re.M)
        return int(found[1].replace(",", "")) if found else 0
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    words = next((line for line in lines if told_remedy(line)), "") or (lines or ["no message"])[0]
    raise RefusedError(
        f"rsync: {words} (exit status {done.returncode})", told_remedy(words),
        "run the same command again: it goes on where this one stopped",
    )  # fmt: skip


def _word(text: str) -> str:
    if re.fullmatch(r"[\w./@:=,+-]+", text):
        return text
    return "'" + text.replace("'", "''") + "'"


def _links(top: int) -> list[tuple[str, str]]:
    """Every link below `repositories` of a store, and what it says. No link of the file system is followed."""
    found = []
    for path, _, files, handle in os.fwalk("repositories", dir_fd=top, follow_symlinks=False):
        if "link" in files:
            content, _ = handles.read(handle, ["link"], walk.LINK_BYTES)
            found.append((f"{path}/link", content.decode("ascii", "replace").strip()))
    return found


def _digests(come: int) -> set[str]:
    """All that the links which came name."""
    return {digest for _, digest in _came(come) if DIGEST.match(digest)}


def settle(directory: str) -> str:
    """Let the links, the accounts and the certificates here be those that came, no more and no fewer.

    Returns the digest of all links that are here then, as stage.Staged has it.
    """
    root = Path(directory)
    with handles.refused(), inside.opened(root, COPY_IN) as come, handles.data(root) as data:
        place = inside.path(come)
        os.close(putback.made(data, f"{IN_DATA}/repositories", putback.whose(data)))
        whose = f"--chown={REGISTRY}:{NGINX}" if os.geteuid() == 0 else "--chmod=u+w"
        links = ["--chmod=D750,F640", "--perms", "--owner", "--group", whose]
        target = f"{inside.path(data)}/{IN_DATA}/repositories/"
        came = place / STORE / "repositories"
        came.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy([*links, f"{came}/", target])
        for name in BESIDE:
            source, here = place / name, root / name
            if source.is_dir():
                here.mkdir(mode=0o700, parents=True, exist_ok=True)
                _copy(["--perms", f"{source}/", f"{here}/"])
            elif source.is_file():
                _copy(["--perms", str(source), str(here)])
        with handles.store(data) as top:
            return needed.digest_of([" ".join(each) for each in _links(top)])


def last(directory: str, lineage: str, shell: list[str], addresses: list[str], references: str) -> Arrived:
    """The last pass, all in one trip: fetched, put in its place, and what nginx serves. Nobody may push here yet.

    shell: as for `pull`; addresses: of the old server, from which many people will come; references: see `settle`.
    Raises RefusedError where not all came.
    """
    root = Path(directory)
    found = pull(directory, shell)
    if settle(directory) != references:
        raise RefusedError("not all links of the registry arrived", "run the same command again")
    relay.know(directory, addresses)
    relay.come_back(directory)
    owner.settle(root)
    if problem := nginx.reconfigure(directory, lineage)["problem"]:
        raise RefusedError(f"the certificate that came is not used: {problem}", "./fab -H … status")
    return found


def came(directory: str) -> str:
    """The digest of all links that came last, as stage.Staged has it. Changes nothing but an empty directory."""
    with handles.refused(), inside.opened(Path(directory), COPY_IN) as come:
        return needed.digest_of([" ".join(each) for each in _came(come)])


def late(directory: str, shell: list[str]) -> int:
    """What the old server took after the last pass, or while that was made: it is added, and nothing else is changed.

    People push and delete here by now. shell: as for `pull`. Returns how many tags came.
    """
    with handles.refused(), inside.opened(Path(directory), COPY_IN) as come:
        before = {*_came(come)}
        pull(directory, shell)
        new = [each for each in _came(come) if each not in before]
        links = [(path, digest, _time(come, path)) for path, digest in new]
        return putback.put(directory, links, [], whole=False, keep=True)["tags"]


def _came(come: int) -> list[tuple[str, str]]:
    with contextlib.suppress(FileNotFoundError), handles.directory(come, STORE) as top:
        return _links(top)
    return []


def _time(come: int, path: str) -> float:
    found = handles.stat_of(come, f"{STORE}/{path}")
    return found.st_mtime if found else 0.0


def _copy(options: list[str]) -> None:
    """Here alone, and only what differs."""
    argv = ["rsync", "--recursive", "--links", "--times", "--modify-window=-1", "--delete", *options]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = (done.stderr.strip() or "no message").splitlines()[0]
        raise RefusedError(f"{DATA}: rsync: {said}", told_remedy(said) or "run the same command again")


def end(directory: str) -> None:
    """Remove what came, and was not needed."""
    with handles.refused():
        inside.remove(Path(directory), COPY_IN)


def call_self(name: str, here: bool) -> None:
    """Let this machine take itself for that name, or no longer, so that its own Docker finds what runs here."""
    file, mark = Path("/etc/hosts"), f"# {Path(LOCK).stem} move"
    text = file.read_text("utf-8", "surrogateescape")
    lines = [line for line in text.splitlines(keepends=True) if not line.rstrip().endswith(mark)]
    wanted = "".join(lines)
    if here:
        wanted += "\n" * (bool(wanted) and not wanted.endswith("\n")) + f"127.0.0.1 {name} {mark}\n"
    if wanted != text:
        # In a container it is a mount, which cannot be replaced.
        shutil.copyfile(file, f"{file}.before-move")
        file.write_text(wanted, "utf-8", "surrogateescape")
        Path(f"{file}.before-move").unlink()
