"""Events with real parts: what `events` shows, and a push that redeploys a service by the script of the page."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.sandbox.commands import ROOT
from tests.sandbox.demo import DOMAIN

from .history import Client as Raw
from .test_roles import Client
from .world import DEPLOY_DIR, PASSWORD, USER, World, wait_until

LOGIN = f"{USER}:{PASSWORD}"
# What redeploys: it takes a registry's notifications, and replaces a container by one of the image that is named.
SERVICE = f"""
import http.server, json, subprocess
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for event in json.loads(body)["events"]:
            target = event["target"]
            image = "{DOMAIN}/" + target["repository"] + ":" + target["tag"]
            subprocess.run(["docker", "pull", "-q", image], check=True)
            subprocess.run(["docker", "rm", "-f", "service"])
            subprocess.run(["docker", "create", "--name", "service", image, "run"], check=True)
        with open("/tmp/hook.log", "ab") as log:
            log.write(body)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("", 9321), Hook).serve_forever()
"""


def told(world: World, *args: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in world.fab("events", "--json", *args).stdout.splitlines()]


def test_what_is_shown(deployed: World) -> None:
    raw = Raw(deployed, LOGIN)
    begin = time.time() - 1
    assert raw.image("shown/app", "1.0", [b"layer"])[0] == 201
    assert raw.pull("shown/app", "1.0") == ""
    assert deployed.login(USER, "wrong") == 401
    assert deployed.login("nobody-here", "wrong") == 401
    deployed.fab("images", "--delete", "shown/app:1.0", "--yes")
    found = [event for event in told(deployed, "--pulls") if float(str(event["when"])) >= begin]
    kinds = {(event["kind"], event["who"], event["what"]) for event in found if event["kind"] != "refused"}
    assert {("push", USER, "shown/app:1.0"), ("pull", USER, "shown/app:1.0")} <= kinds
    assert ("delete", "shown/app:1.0") in {(kind, what) for kind, _, what in kinds}
    refused = {event["who"] for event in found if event["kind"] == "refused"}
    assert refused == {USER, "no account"}
    assert "nobody-here" not in deployed.server(f"cat {DEPLOY_DIR}/log/uses/*"), "people type passwords there"
    assert not [event for event in told(deployed) if event["kind"] == "pull"]
    shown = deployed.fab("events", "--since", "1h").stdout
    assert re.search(rf"push +{USER} +shown/app:1\.0", shown), shown
    # Until somebody ends it. Since a minute: on a busy machine the push comes before it is there.
    following = subprocess.Popen(
        [*deployed.command, "events", "--follow", "--json", "--since", "1min"], stdout=subprocess.PIPE, text=True
    )
    late = threading.Timer(120, following.terminate)
    late.start()
    try:
        assert raw.image("shown/app", "2.0", [b"layer"])[0] == 201
        assert following.stdout is not None
        wanted = ("push", "shown/app:2.0")
        assert any((event["kind"], event["what"]) == wanted for event in map(json.loads, following.stdout))
    finally:
        late.cancel()
        following.terminate()
        following.wait(30)


HOOK = "(setsid python3 /tmp/hook.py >/tmp/hook.err 2>&1 & echo $! >/tmp/hook.pid)"


@pytest.fixture
def service(deployed: World) -> Iterator[World]:
    """On the client, a service, and somebody who waits for a webhook."""
    exec_ = deployed.sandbox.exec
    exec_("client", "sh", "-c", f"cat >/tmp/hook.py; {HOOK}", input=SERVICE)
    script = re.search(r"```text\n(#!/bin/sh\n.*?)```", (ROOT / "docs/events.md").read_text(), re.S)
    assert script
    address = deployed.sandbox.address("client")
    deployed.server(
        f"cat >/root/redeploy <<'END'\n{script[1]}END\nchmod 700 /root/redeploy; umask 077; "
        f"echo 'url = \"http://{address}:9321/\"' >/root/events.curl"
    )
    deployed.configure(EVENT_COMMAND="/root/redeploy", ALERT_COMMAND="cat >>/tmp/alerts")
    deployed.fab("sync", "schedule")
    record = f"{DEPLOY_DIR}/log/events.json"
    wait_until(lambda: deployed.server(f"cat {record}", check=False) != "", "cron has begun it", 90)
    yield deployed
    deployed.configure()
    deployed.fab("sync", "schedule")
    wait_until(lambda: deployed.server(f"cat {record}", check=False) == "", "cron has ended it", 150)
    deployed.server("rm -f /root/redeploy /root/events.curl /tmp/alerts")
    exec_("client", "sh", "-c", "kill $(cat /tmp/hook.pid); docker rm -f service; rm -f /tmp/hook.*", check=False)


def alter(world: World, key: str) -> None:
    """Date something in the record of events to 1970, while nobody is at it."""
    code = f'import json; r = json.load(open("events.json")); r["{key}"] = 1; json.dump(r, open("events.json", "w"))'
    world.server(f"cd {DEPLOY_DIR}/log && flock events.lock python3 -c '{code}'")


@pytest.mark.long
def test_a_push_redeploys_a_service(service: World) -> None:
    client, image = Client(service), f"{DOMAIN}/team-a/app:1.0"
    assert client.login("docker", USER, PASSWORD)[0]

    def push(name: str) -> str:
        made = "rm -rf /tmp/m; mkdir /tmp/m; head -c 2000 /dev/urandom >/tmp/m/r; tar -C /tmp/m -cf /tmp/m.tar r; "
        done, words = client.run(f"{made} docker import /tmp/m.tar {name} >/dev/null; docker push {name}")
        assert done, words
        return client.run(f"docker image inspect -f '{{{{.Id}}}}' {name}")[1].strip()

    def replaced(new: str, seconds: float = 60) -> None:
        begun = time.monotonic()
        runs = "docker inspect -f '{{.Image}}' service"
        wait_until(lambda: client.run(runs)[1].strip() == new, "the service is replaced", seconds)
        print(f"\nredeployed {time.monotonic() - begun:.1f} s later")

    for _ in range(2):
        replaced(push(image))
        push(f"{DOMAIN}/team-b/other:1.0")
    log = service.sandbox.exec("client", "sh", "-c", "cat /tmp/hook.log")
    events = [json.loads(line)["events"][0] for line in log.splitlines()]
    assert len(events) == 2, "of the other image nothing was told"
    assert events[1]["actor"]["name"] == USER
    assert events[1]["target"]["digest"] in events[1]["target"]["url"]
    assert events[1]["target"]["size"] > 100

    # The receiver is away: nothing is lost, and what is there is told when it is back.
    service.sandbox.exec("client", "sh", "-c", "kill $(cat /tmp/hook.pid)")
    new = push(image)
    record = f"{DEPLOY_DIR}/log/events.json"
    wait_until(lambda: json.loads(service.server(f"cat {record}"))["failures"] > 1, "it was tried again")
    # A quarter of an hour later people are told, once.
    alter(service, "since")
    wait_until(lambda: "EVENT_COMMAND fails" in service.server("cat /tmp/alerts", check=False), "people are told", 150)
    service.sandbox.exec("client", "sh", "-c", HOOK)
    alter(service, "next")
    replaced(new, 150)
    assert service.server("cat /tmp/alerts").count("EVENT_COMMAND fails") == 1
