"""What pytest says at the end, besides the tests: here, as its main process loads no other conftest."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many requests all probes made and lost."""
    counted = {"probe made": 0, "probe lost": 0}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for key, value in getattr(report, "user_properties", ()):
                if key in counted and report.when == "call":
                    counted[key] += int(str(value))
    terminalreporter.write_line(
        f"probes of port 443: {counted['probe made']} requests made, {counted['probe lost']} lost"
    )
