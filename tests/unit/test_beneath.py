"""What a container made in its directories, opened by root: links, fifos, sockets, names, depth."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile.certificate.onhost import probe
from fabfile.machine.onhost import beneath
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.stack.onhost import lineage


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory as certbot's, beside something that is nobody's business."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    conf = tmp_path / "conf"
    (conf / "archive/a.test").mkdir(parents=True)
    (conf / "live/a.test").mkdir(parents=True)
    (conf / "archive/a.test/cert1.pem").write_text("a certificate")
    (conf / "live/a.test/cert.pem").symlink_to("../../archive/a.test/cert1.pem")
    return conf


def test_links_below_count_as_certbot_has_them(top: Path) -> None:
    assert beneath.read(top, "live/a.test/cert.pem") == b"a certificate"
    assert beneath.is_link(top, "live/a.test/cert.pem")
    assert not beneath.is_link(top, "archive/a.test/cert1.pem")
    assert not beneath.is_link(top, "archive/none")
    assert beneath.there(top, "live/none") is None


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as each:
        # A path of a socket has 107 characters at most.
        os.chdir(path.parent)
        each.bind(path.name)


def twice(path: Path) -> None:
    (path.parent / "b").symlink_to("/etc")
    path.symlink_to("b/hostname")


WAYS: dict[str, Callable[[Path], None]] = {
    "an absolute link": lambda path: path.symlink_to(path.parents[2] / "outside/secret"),
    "a link out of it": lambda path: path.symlink_to("../../outside/secret"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a link out of it": twice,
    "a fifo": fifo,
    "a socket": listening,
    "a directory": Path.mkdir,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_file_of_its_own_is_refused(top: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    WAYS[way](top / "live/made")
    with pytest.raises(RefusedError, match="live/made"):
        beneath.read(top, "live/made")


@pytest.mark.parametrize("part", ["live", "live/a.test"])
def test_a_linked_directory_on_the_way_is_refused(top: Path, part: str, tmp_path: Path) -> None:
    (tmp_path / "outside/a.test").mkdir()
    (tmp_path / "outside/a.test/fullchain.pem").write_text("theirs")
    (tmp_path / "outside/fullchain.pem").write_text("theirs")
    (top / part).rename(tmp_path / "moved")
    (top / part).symlink_to(tmp_path / "outside")
    with pytest.raises(RefusedError, match="leads out of it"):
        lineage.on_disk(str(top / "live/a.test"), "")


def test_of_a_large_file_the_end_is_read(top: Path) -> None:
    with (top / "log").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"the end")
    assert beneath.read(top, "log", 7) == b"the end"
    assert len(beneath.read(top, "log")) == beneath.LIMIT


def test_a_probe_writes_through_no_link(tmp_path: Path) -> None:
    webroot, outside = tmp_path / "www", tmp_path / "outside"
    webroot.mkdir()
    outside.mkdir(mode=0o700)
    token = probe.place(str(webroot))
    file = webroot / ".well-known/acme-challenge" / token
    assert file.read_text() == token
    probe.remove(str(webroot), token)
    assert not file.exists()
    (webroot / ".well-known").rename(tmp_path / "moved")
    (webroot / ".well-known").symlink_to(outside)
    for use in (lambda: probe.place(str(webroot)), lambda: probe.remove(str(webroot), "x")):
        with pytest.raises(RefusedError, match="is no directory"):
            use()
    assert list(outside.iterdir()) == []
    assert outside.stat().st_mode & 0o777 == 0o700
