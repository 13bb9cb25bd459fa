"""A configuration goes live by one rename: whatever is refused, edited by hand or cut off, the live one stays."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from fabfile.machine.onhost.atomic import RefusedError
from fabfile.stack.onhost import generations

CONFIG = {"nginx.conf": b"one"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server with a live configuration that nginx has loaded."""
    (tmp_path / "nginx/run").mkdir(parents=True)
    promote(tmp_path, CONFIG)
    (tmp_path / "nginx/loaded").write_text(str((tmp_path / "nginx/live").readlink()))
    return tmp_path


def promote(root: Path, config: dict[str, bytes], seen: list[bytes] | None = None) -> None:
    def test() -> None:
        if seen is None:
            return
        seen.append((root / "nginx/live/nginx.conf").read_bytes())
        raise RefusedError("nginx -t says no")

    generations.promote(root, root / "none", config, test)


def test_a_refused_candidate_leaves_what_is_loaded(root: Path) -> None:
    loaded = (root / "nginx/loaded").read_text()
    with pytest.raises(RefusedError):
        promote(root, {"nginx.conf": b"two"}, [])
    assert (root / "nginx/loaded").read_text() == loaded == str((root / "nginx/live").readlink())
    assert generations.content(root / "nginx/live") == CONFIG


def test_a_live_one_that_was_edited_by_hand_is_not_replaced_before_the_test(root: Path) -> None:
    """The candidate is what the live one was, so it had its name."""
    (root / "nginx/live/nginx.conf").write_bytes(b"by hand")
    seen: list[bytes] = []
    with pytest.raises(RefusedError):
        promote(root, CONFIG, seen)
    assert seen == [b"by hand"]
    assert (root / "nginx/live/nginx.conf").read_bytes() == b"by hand"
    promote(root, CONFIG)
    assert generations.content(root / "nginx/live") == CONFIG
    # nginx has to be told, though the digest is that of before.
    assert not (root / "nginx/loaded").exists()


def test_a_cut_at_any_rename_leaves_a_whole_live_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "nginx/live/nginx.conf").write_bytes(b"by hand")

    class CutError(Exception):
        pass

    moves = [0]
    stop = [0]
    for name in ("rename", "replace", "symlink_to"):
        original = getattr(Path, name)

        def counting(self: Path, target: object, original: object = original) -> object:
            moves[0] += 1
            if moves[0] == stop[0]:
                raise CutError
            return original(self, target)  # type: ignore[operator]

        monkeypatch.setattr(Path, name, counting)
    for stop[0] in range(1, 12):
        moves[0] = 0
        with contextlib.suppress(CutError):
            promote(root, {"nginx.conf": b"number %d" % stop[0]})
        assert (root / "nginx/live/nginx.conf").is_file(), stop
    assert moves[0] < 11


def test_the_way_back(root: Path) -> None:
    promote(root, {"nginx.conf": b"two"})
    assert generations.go_back(root)
    assert generations.content(root / "nginx/live") == CONFIG
    assert not (root / "nginx/loaded").exists()


def test_the_one_that_runs_reloads_what_it_has(root: Path) -> None:
    """What waits may need a mount of the next container: its reload would be refused."""
    promote(root, {"nginx.conf": b"two"})
    with contextlib.suppress(KeyError), generations.as_loaded(root):
        assert generations.content(root / "nginx/live") == CONFIG
        raise KeyError
    assert generations.content(root / "nginx/live") == {"nginx.conf": b"two"}
    generations.stay(root)
    generations.stay(root)
    assert generations.content(root / "nginx/live") == CONFIG


def test_what_is_loaded_stays(root: Path) -> None:
    promote(root, {"nginx.conf": b"two"})
    live = str((root / "nginx/live").readlink())
    (root / "nginx/loaded").write_text(live)
    with generations.as_loaded(root):
        assert str((root / "nginx/live").readlink()) == live
    generations.stay(root)
    assert str((root / "nginx/live").readlink()) == live


def test_old_ones_are_thrown_away(root: Path) -> None:
    for number in range(9):
        promote(root, {"nginx.conf": b"%d" % number})
    assert len(list((root / "nginx/run").iterdir())) == 2 + generations.KEPT
