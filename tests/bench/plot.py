"""Pictures of the results: plain SVG, bars with whiskers from the first to the third quartile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from .results import Result, short

HERE = Path(__file__).parent
# Megabytes that each of these moves; the results are seconds.
MOVED = {"push-1g": 1024, "pull-1g": 1024, "push-40x5m": 200, "pull-40x5m": 200}
TITLES = {
    "push-1g": "push, one layer of 1 GB",
    "pull-1g": "pull, one layer of 1 GB",
    "push-40x5m": "push, 40 layers of 5 MB (skopeo)",
    "pull-40x5m": "pull, 40 layers of 5 MB (skopeo)",
    "requests": "manifests over 16 connections that stay open",
}
WIDTH, LEFT, RIGHT = 760, 170, 90
BAR, GAP, HEADING = 16, 6, 30
OURS_COLOUR, COLOUR, INK, PALE = "#1f6f43", "#9aa7b4", "#24292f", "#6e7781"


@dataclass(frozen=True)
class Bar:
    name: str
    value: float
    low: float
    high: float


def throughput(results: Iterable[Result]) -> str:
    """Megabytes a second of every push and pull."""
    found = list(results)
    panels = [
        (TITLES[measure], [_speed(r, moved) for r in found if r.measure == measure]) for measure, moved in MOVED.items()
    ]
    return _picture("MB/s, more is better", panels)


def requests(results: Iterable[Result]) -> str:
    """Requests a second."""
    bars = [Bar(r.contender, r.median, r.q1, r.q3) for r in results if r.measure == "requests"]
    return _picture("requests a second, more is better", [(TITLES["requests"], bars)])


def write(results: Sequence[Result], directory: Path = HERE) -> list[Path]:
    """Both pictures, as files."""
    pictures = {"throughput.svg": throughput(results), "requests.svg": requests(results)}
    for name, text in pictures.items():
        (directory / name).write_text(text)
    return [directory / name for name in pictures]


def _speed(result: Result, moved: float) -> Bar:
    """Of seconds, so the slowest quartile is the lowest speed."""
    return Bar(result.contender, moved / result.median, moved / result.q3, moved / result.q1)


def _picture(caption: str, panels: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    drawn, top = [], 34
    for title, bars in panels:
        if bars:
            drawn.append(_panel(title, bars, top))
            top += HEADING + len(bars) * (BAR + GAP) + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" '
        f'height="{top}" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>\n'
        f'<text x="12" y="22" fill="{PALE}">{escape(caption)}; whiskers: quartiles</text>\n'
        + "".join(drawn)
        + "</svg>\n"
    )


def _panel(title: str, bars: Sequence[Bar], top: float) -> str:
    """Every panel has a scale of its own: its longest whisker fills the width."""
    scale = (WIDTH - LEFT - RIGHT) / max(bar.high for bar in bars)
    lines = [f'<text x="12" y="{top + 18}" fill="{INK}" font-weight="600">{escape(title)}</text>\n']
    for number, bar in enumerate(bars):
        lines.append(_bar(bar, top + HEADING + number * (BAR + GAP), scale))
    return "".join(lines)


def _bar(bar: Bar, y: float, scale: float) -> str:
    ours = bar.name.startswith("ours")
    middle = y + BAR / 2
    low, high = (LEFT + each * scale for each in (bar.low, bar.high))
    weight = ' font-weight="600"' if ours else ""
    return (
        f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end" fill="{INK}"{weight}>'
        f"{escape(bar.name)}</text>"
        f'<rect x="{LEFT}" y="{y}" width="{bar.value * scale:.1f}" height="{BAR}" '
        f'fill="{OURS_COLOUR if ours else COLOUR}"/>'
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} '
        f'{middle - 4}v8" stroke="{INK}" fill="none"/>'
        f'<text x="{high + 6:.1f}" y="{middle + 4}" fill="{INK}"{weight}>{short(bar.value)}</text>\n'
    )
