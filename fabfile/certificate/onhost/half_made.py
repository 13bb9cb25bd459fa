"""Before an order: room for what certbot writes, and what it left half made when there was none."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import time
from pathlib import Path

from ... import layout
from ...machine.onhost import beneath
from ...machine.onhost.atomic import RefusedError
from ...stack.onhost.lineage import PAIR, damage, require_pair

PARTS = ("cert", "chain", "fullchain", "privkey")
OLD = "old"
# An order writes some 30 KB of certificates, its log up to some hundred; 12 files and their directories.
BYTES, FILES = 2 << 20, 64
WRITTEN = (layout.CERTIFICATES, layout.CERTBOT_LOG, layout.WEBROOT, layout.REHEARSAL, layout.GENERATIONS)


def no_room(root: str) -> str:
    """Where below DEPLOY_DIR an order would find too little room, and how little; '' where there is enough.

    What is kept for it (see reserve.py) counts: it is given up as certbot runs.
    """
    top = Path(root)
    reserve = top / layout.RESERVE
    kept = reserve.lstat() if reserve.is_file() else None
    for name in WRITTEN:
        place = top / name
        if not place.is_dir():
            continue
        space = os.statvfs(place)
        free = space.f_bfree * space.f_frsize
        if kept and place.stat().st_dev == kept.st_dev:
            free += kept.st_blocks * 512
        if free < BYTES:
            return f"no room for an order: {free >> 10} KB are free for {place}, {BYTES >> 10} KB are needed"
        # Some file systems make them as needed and count none.
        if space.f_files and space.f_ffree < FILES:
            return (
                f"no room for an order: {space.f_ffree} more files can be made in {place}, {FILES} are needed (df -i)"
            )
    return ""


def untidy(root: str, name: str) -> bool:
    """Whether `tidied` may have something to do. Changes nothing."""
    conf = Path(root) / layout.CERTIFICATES
    if not conf.is_dir():
        return False
    try:
        numbers = _numbers(conf, name)
        newest = bool(numbers) and not _whole(conf, f"archive/{name}", str(max(numbers)))
        return newest or damage(str(conf), name) != ""
    except RefusedError:
        # Links that lead out of it: `damage` says so, at its own time.
        return True


def tidied(root: str, name: str) -> str:
    """Put right what a full disk, or a power cut, left of an order: then certbot goes on by itself.

    root: DEPLOY_DIR; name: of the certificate. Nothing is deleted: it is moved to certbot/conf/old. Where an earlier
    certificate is whole, it is the newest again. Where none is whole, or nginx has it, nothing is to be lost, and
    certbot begins anew. Returns what was done, '' where nothing was to be done or somebody has to look.
    """
    conf = Path(root) / layout.CERTIFICATES
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, RefusedError):
        sets = _sets(conf, name)
        whole = [number for number in sorted(sets) if sets[number]]
        known = beneath.there(conf, f"renewal/{name}.conf") is not None and "archive_dir" in beneath.text(
            conf, f"renewal/{name}.conf"
        )
        if whole and known:
            return _stepped_back(conf, name, whole[-1], [number for number in sets if number > whole[-1]])
        if damage(str(conf), name) or (sets and not whole):
            return _all_aside(Path(root), name, whole)
    return ""


def _sets(conf: Path, name: str) -> dict[int, bool]:
    """Number of each certificate in the archive -> whether it is whole. {} where there is no archive."""
    return {number: _whole(conf, f"archive/{name}", str(number)) for number in _numbers(conf, name)}


def _numbers(conf: Path, name: str) -> set[int]:
    try:
        with beneath.directory(conf, f"archive/{name}") as handle:
            files = os.listdir(handle)  # noqa: PTH208 - of a handle
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {int(match[1]) for file in files if (match := re.fullmatch(r"[a-z]+(\d{1,6})\.pem", file))}


def _whole(conf: Path, directory: str, number: str = "") -> bool:
    """Whether a certificate is there with its chain, and its key fits."""
    try:
        files = {part: beneath.read(conf, f"{directory}/{part}{number}.pem") for part in PARTS}
        for part in ("cert", "fullchain"):
            require_pair({layout.FULLCHAIN: files[part], layout.PRIVKEY: files["privkey"]})
    except (FileNotFoundError, NotADirectoryError, RefusedError, ssl.SSLError):
        return False
    return True


def _stepped_back(conf: Path, name: str, good: int, half_made: list[int]) -> str:
    """Let live/ lead to the newest that is whole, where it is links as certbot makes them."""
    with beneath.directory(conf, f"live/{name}") as live:
        targets = {part: f"../../archive/{name}/{part}{good}.pem" for part in PARTS}
        there = {part: _link(live, f"{part}.pem") for part in PARTS}
        if None in there.values() or (there == targets and not half_made):
            return ""
        for part, target in targets.items():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f".{part}.new", dir_fd=live)
            os.symlink(target, f".{part}.new", dir_fd=live)
            os.rename(f".{part}.new", f"{part}.pem", src_dir_fd=live, dst_dir_fd=live)
    place = f"{OLD}/{_now()}"
    with beneath.directory(conf, f"archive/{name}") as old, beneath.directory(conf, place, make=0o700) as new:
        for file in os.listdir(old):  # noqa: PTH208 - of a handle
            match = re.fullmatch(r"[a-z]+(\d{1,6})\.pem", file)
            if match and int(match[1]) in half_made:
                os.rename(file, file, src_dir_fd=old, dst_dir_fd=new)
    return (
        f"certificate {good} is the newest again; a later one was half made and lies in {layout.CERTIFICATES}/{place}"
    )


def _link(handle: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=handle)
    except OSError:
        return None


def _all_aside(root: Path, name: str, whole: list[int]) -> str:
    conf = root / layout.CERTIFICATES
    # A copy that followed the links has files in live/ that certbot does not know.
    if (whole or _whole(conf, f"live/{name}")) and not _nginx_has(root, name, whole):
        return ""
    place = f"{OLD}/{_now()}"
    for part in ("live", "archive", "renewal"):
        file = f"{name}.conf" if part == "renewal" else name
        with (
            contextlib.suppress(FileNotFoundError),
            beneath.directory(conf, part) as old,
            beneath.directory(conf, f"{place}/{part}", make=0o700) as new,
        ):
            os.rename(file, file, src_dir_fd=old, dst_dir_fd=new)
    return f"an earlier order was left half made: moved to {layout.CERTIFICATES}/{place}"


def _nginx_has(root: Path, name: str, whole: list[int]) -> bool:
    """Whether nginx runs a copy of the newest of them, and needs certbot's files no more."""
    conf, live = root / layout.CERTIFICATES, root / layout.LIVE / layout.TLS
    place = f"archive/{name}/%s{whole[-1]}.pem" if whole else f"live/{name}/%s.pem"
    try:
        return all((live / file).read_bytes() == beneath.read(conf, place % Path(file).stem) for file in PAIR)
    except FileNotFoundError:
        return False


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
