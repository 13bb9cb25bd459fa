"""The benchmark's own arithmetic: quartiles, and whether it got slower."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import page, plot, results
from tests.bench.compare import against, compare, new_errors
from tests.bench.delay import delayed
from tests.bench.results import Result, summary


def result(contender: str, median: float, spread: float = 0, unit: str = "s", n: int = 5) -> Result:
    measure = {"s": "pull-1g", "1/s": "requests", "count": "pulls-1000-errors"}[unit]
    return Result(measure, contender, unit, median, median - spread, median + spread, n)


def test_summary() -> None:
    assert summary("m", "ours", "s", [3]) == Result("m", "ours", "s", 3, 3, 3, 1)
    assert summary("m", "ours", "s", [5, 1, 2, 3, 4]) == Result("m", "ours", "s", 3, 2, 4, 5)


def test_results_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    old = [result("ours", 2), result("caddy-h1", 3)]
    results.save(file, old)
    assert results.load(file) == old
    new = [result("ours", 1), result("file-tls", 0.5)]
    assert results.merged(old, new) == [new[0], old[1], new[1]]


def test_the_pages_say_what_was_measured() -> None:
    found = results.load(results.COMMITTED)
    for path in page.PAGES:
        text = path.read_text()
        assert page.filled(text, found) == text
        assert page.filled(text, []) != text
        with pytest.raises(ValueError, match="has not 4 rows"):
            page.filled(re.sub(r"(?m)^.*`fab -H host true`.*\n", "", text), found)
        with pytest.raises(ValueError, match="has not one table"):
            page.filled(text.replace("| ours |", "| theirs |"), found)


@pytest.mark.parametrize(
    ("unit", "old", "new", "worse"),
    [
        ("s", 2, 2.3, False),  # within the spread of both
        ("s", 2, 4, True),
        ("s", 4, 2, False),
        ("1/s", 4, 2, True),
        ("1/s", 2, 4, False),
    ],
)
def test_compare(unit: str, old: float, new: float, worse: bool) -> None:
    before = [result("ours", old, 0.2, unit), result("caddy-h1", 2, 0.1, unit)]
    after = [result("ours", new, 0.2, unit), result("caddy-h1", 2, 0.1, unit)]
    (verdict,) = compare(before, after)
    assert (verdict.measure, verdict.contender, verdict.worse) == (
        before[0].measure,
        "caddy-h1",
        worse,
    )
    assert str(verdict).startswith("WORSE" if worse else "ok")


def test_a_slower_machine_is_no_slower_stack() -> None:
    before = [result("ours", 2, 0.1), result("caddy-h1", 3, 0.1)]
    after = [result("ours", 4, 0.1), result("caddy-h1", 6, 0.1)]
    assert not compare(before, after)[0].worse


def test_one_round_may_differ_by_a_tenth_each() -> None:
    before = [result("ours", 2, n=1), result("caddy-h1", 2, n=1)]
    assert not compare(before, [result("ours", 2.3, n=1), before[1]])[0].worse
    assert compare(before, [result("ours", 2.6, n=1), before[1]])[0].worse


def test_no_spread_at_all_is_no_certainty() -> None:
    before = [result("ours", 2), result("caddy-h1", 2)]
    assert not compare(before, [result("ours", 2.06), before[1]])[0].worse
    assert compare(before, [result("ours", 2.1), before[1]])[0].worse


def test_what_one_side_lacks_is_not_compared() -> None:
    ours, other = result("ours", 2), result("caddy-h1", 2)
    assert compare([ours], [ours, other]) == []
    assert compare([ours, other], [other]) == []
    assert compare([ours, result("caddy-h1", 0)], [ours, other]) == []


def test_ours_against_another_one_in_one_run() -> None:
    found = [result("ours", 98, unit="1/s"), result("ours-no-uses", 100, unit="1/s"), result("ours", 3)]
    assert against(found, "ours-no-uses") == ["requests: ours / ours-no-uses is 0.98 (0.96 to 1.00)"]
    assert against(found, "caddy-h1") == []


def test_new_errors() -> None:
    none, some = result("ours", 0, unit="count"), result("ours", 3, unit="count")
    assert new_errors([none], [none]) == new_errors([some], [some]) == new_errors([], [some]) == []
    assert new_errors([none], [some]) == ["WORSE  pulls-1000-errors: ours was 0, is 3"]


def test_pictures(tmp_path: Path) -> None:
    found = [result("ours", 2, 0.1), result("file-tls", 1, 0.1), result("ours", 900, 5, "1/s")]
    for path in plot.write(found, tmp_path):
        drawing = ElementTree.parse(path)  # noqa: S314 - our own
        texts = [each.text for each in drawing.iter() if each.tag.endswith("text")]
        assert "ours" in texts
    assert "512" in (tmp_path / "throughput.svg").read_text()


def test_a_server_far_away() -> None:
    """Two ways to connect, two for a question and its answer; a megabyte is one answer, too."""
    sent = b"x" * 1_000_000
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(sent)

        server = threading.Thread(target=answer)
        server.start()
        with delayed(listener.getsockname()[1], 0.1) as port:
            started = time.monotonic()
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"?")
                got = b"".join(iter(lambda: client.recv(65536), b""))
            seconds = time.monotonic() - started
        server.join()
    assert got == sent
    assert 0.4 <= seconds < 1.5
