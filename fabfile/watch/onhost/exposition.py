"""Prometheus' text format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Metric(NamedTuple):
    """A family. kind: counter, gauge or untyped. samples: labels -> number."""

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[Mapping[str, str], float]]


def one(name: str, kind: str, text: str, number: float | None) -> Metric:
    """A family of one number without labels; of none where it is not known: then it is left out."""
    return Metric(name, kind, text, [] if number is None else [({}, number)])


def text(metrics: Iterable[Metric]) -> str:
    """All of them; one without a number is left out."""
    lines: list[str] = []
    for metric in metrics:
        samples = [f"{metric.name}{_labels(labels)} {_number(number)}" for labels, number in metric.samples]
        if samples:
            lines += [f"# HELP {metric.name} {_escaped(metric.help)}", f"# TYPE {metric.name} {metric.kind}", *samples]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(words: str) -> str:
    return words.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', '\\"')


def _number(number: float) -> str:
    """Whole numbers in full: 1.6e+09 would lose its seconds."""
    return str(int(number)) if number == int(number) else repr(number)
