"""Metrics on the wire, and what a real Prometheus (Debian's) makes of them, of the rules and of the dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.sandbox.commands import ROOT
from tests.sandbox.demo import DOMAIN

from .history import Client as Raw
from .test_quota import minute
from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, wait_until, with_mirror

LOGIN = f"{USER}:{PASSWORD}"
READER = "prometheus:of-the-tests"
METRICS = ROOT / "docs/metrics"


@pytest.fixture(scope="module")
def counted(world: World) -> Iterator[World]:
    """A server with METRICS=on, and an account that may read them."""
    world.standard()
    world.configure(METRICS="on")
    world.fab("sync", "up")
    name, _, password = READER.partition(":")
    world.fab("htpasswd", "--user", name, "--role", "metrics", input=password + "\n")
    yield world
    world.fab("htpasswd", "--remove", name)
    world.configure()
    world.fab("sync", "up")
    minute(world)
    assert world.status("/metrics", "-u", LOGIN) == 404
    assert world.server(f"ls {DEPLOY_DIR}/nginx/metrics") == ""


def read(world: World) -> dict[str, float]:
    """The numbers, as somebody who may read nothing else gets them."""
    shown = world.curl("/metrics", "-u", READER)
    return {name: float(number) for name, number in re.findall(r"^([^#]\S*(?:\{.*\})?) (\S+)$", shown, re.M)}


def test_what_is_served(counted: World) -> None:
    raw = Raw(counted, LOGIN)
    minute(counted)
    before = read(counted)
    assert before["registry_up"] == before["registry_auth_up"] == before["nginx_up"] == 1
    assert raw.image("watched/app", "1", [b"x" * 100_000])[0] == 201
    assert raw.pull("watched/app", "1") == ""
    assert counted.login(USER, "wrong") == 401
    minute(counted)
    found = read(counted)

    def more(name: str) -> float:
        return found[name] - before.get(name, 0)

    assert more('registry_image_actions_total{action="push"}') == 1
    assert more('registry_image_actions_total{action="pull"}') == 1
    assert more('registry_http_requests_total{method="PUT",code="2xx",role="admin"}') == 3
    assert more('registry_http_requests_total{method="GET",code="4xx",role="none"}') >= 1
    assert more('registry_http_request_bytes_total{role="admin"}') > 100_000
    assert more('registry_http_response_bytes_total{role="admin"}') > 100_000
    assert found['registry_storage_repository_bytes{repository="watched/app"}'] > 100_000
    assert found["registry_certificate_not_after_timestamp_seconds"] > found["registry_metrics_timestamp_seconds"]
    assert found["nginx_connections_active"] >= 1
    # Nobody else, and nothing else.
    assert counted.status("/metrics", "-u", LOGIN) == 200
    assert counted.status("/metrics") == 401
    assert counted.status("/v2/", "-u", READER) == 403
    assert counted.status("/v2/watched/app/manifests/1", "-u", READER) == 403
    assert counted.status("/status", "-u", READER) == 404
    assert "stat=640" in counted.server(f"stat -c stat=%a {DEPLOY_DIR}/nginx/metrics/metrics")
    # A new nginx, and a night, take nothing away.
    counted.server(f"cd {DEPLOY_DIR} && ./inv care >/dev/null && docker restart {PROJECT}-nginx-1 >/dev/null")
    wait_until(lambda: counted.login(USER, PASSWORD) == 200, "nginx is back")
    minute(counted)
    name = 'registry_image_actions_total{action="push"}'
    assert read(counted)[name] == found[name]


@pytest.mark.long
def test_a_real_prometheus_takes_metrics_rules_and_dashboard(counted: World) -> None:
    exec_ = counted.sandbox.exec
    with_mirror(counted)
    exec_("client", "sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus")
    raw = Raw(counted, LOGIN)
    assert raw.image("watched/app", "2", [b"y" * 100_000])[0] == 201
    assert raw.pull("watched/app", "2") == ""
    minute(counted)
    exec_("client", "promtool", "check", "metrics", input=counted.curl("/metrics", "-u", READER))
    exec_("client", "mkdir", "-p", "/prom")
    config = (METRICS / "prometheus.yml").read_text()
    for old, new in {"registry.example.com": DOMAIN, "scrape_interval: 1m": "scrape_interval: 2s"}.items():
        assert old in config
        config = config.replace(old, new)
    files = {
        "prometheus.yml": config, "alerts.yml": (METRICS / "alerts.yml").read_text(),
        "registry.password": READER.partition(":")[2],
    }  # fmt: skip
    for name, text in files.items():
        exec_("client", "sh", "-c", f"cat >/prom/{name}", input=text)
    print(exec_("client", "promtool", "check", "rules", "/prom/alerts.yml"))
    print(exec_("client", "promtool", "check", "config", "/prom/prometheus.yml"))
    exec_("client", "sh", "-c", "setsid prometheus --config.file=/prom/prometheus.yml --storage.tsdb.path=/prom/data "
          "--web.listen-address=127.0.0.1:9090 >/prom/log 2>&1 & echo $! >/prom/pid")  # fmt: skip
    try:
        _ask_all_of_it(counted)
    finally:
        exec_("client", "sh", "-c", 'kill "$(cat /prom/pid)"; cat /prom/log; rm -rf /prom', check=False)


def _ask_all_of_it(world: World) -> None:
    def ask(what: str, **query: str) -> dict[str, list[dict[str, object]]]:
        data = [part for key, value in query.items() for part in ("--data-urlencode", f"{key}={value}")]
        answer = world.sandbox.exec(
            "client", "curl", "-fsS", "-G", *data, f"http://127.0.0.1:9090/api/v1/{what}", check=False
        )
        found: dict[str, list[dict[str, object]]] = json.loads(answer)["data"] if answer else {}
        return found

    # Over TLS, with the account that may do nothing else.
    wait_until(lambda: bool(ask("query", query='up{job="registry"} == 1').get("result")), "it was scraped", 120)
    # A rate takes two.
    wait_until(
        lambda: bool(ask("query", query="rate(nginx_http_requests_total[5m])").get("result")), "it was again", 60
    )
    board = json.loads((METRICS / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    empty = []
    for expression in expressions:
        asked = expression.replace("$instance", ".*").replace("$__rate_interval", "5m")
        if not ask("query", query=asked)["result"]:
            empty.append(asked)
    print(f"dashboard: {len(expressions)} expressions, of which {len(empty)} return nothing")
    assert empty == []
    wait_until(
        lambda: all(rule["health"] != "unknown" for rule in _rules(ask("rules"))), "each rule was looked at", 120
    )
    rules = _rules(ask("rules"))
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == [], "a healthy server alarms nobody"
    print(f"rules: {len(rules)}, all of them ok, none fires")
    # And what is not healthy does.
    world.server(f"docker stop {PROJECT}-registry-1 >/dev/null")
    try:
        minute(world)
        wait_until(
            lambda: any(r["name"] == "RegistryDown" and r["state"] != "inactive" for r in _rules(ask("rules"))),
            "the rule sees it", 180,
        )  # fmt: skip
    finally:
        world.server(f"docker start {PROJECT}-registry-1 >/dev/null")
        minute(world)


def _rules(answer: dict[str, list[dict[str, object]]]) -> list[dict[str, str]]:
    return [rule for group in answer["groups"] for rule in group["rules"]]  # type: ignore[attr-defined]
