"""Who looks after nginx while the door is held."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fabfile.stack.onhost import door
from fabfile.stack.onhost.beside import Found

OLD: Found = {
    "id": "0123456789ab", "service": "nginx", "name": "old", "image": "", "named": "", "hash": "", "running": True,
    "number": 1,
}  # fmt: skip


def test_a_slow_start_is_not_taken_for_a_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the engine needs longer than the door is held, the old one must not come back and take the ports."""
    said = tmp_path / "said"
    for name in ("docker", "iptables", "ip6tables"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{said}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    bound = {f"{port}/tcp": [{"HostIp": "", "HostPort": str(port)}] for port in (443, 80, 8443)}
    monkeypatch.setattr(door, "inspected", lambda ids: [{"HostConfig": {"PortBindings": bound}}])
    monkeypatch.setattr(door, "SECONDS", 0)
    with door.held(OLD):
        end = time.monotonic() + 20
        while "iptables -w 1 -t raw -D" not in said.read_text() and time.monotonic() < end:
            time.sleep(0.02)
        assert "iptables -w 1 -t raw -D" in said.read_text()
        # Every port that nginx has, where a load balancer comes, too.
        assert "--dports 80,443,8443 --syn" in said.read_text()
        assert "docker start" not in said.read_text()
    while f"docker start {OLD['id']}" not in said.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    assert f"docker start {OLD['id']}" in said.read_text()
