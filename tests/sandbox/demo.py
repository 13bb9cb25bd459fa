"""`./inv demo`: the sandbox, and the real `fab bootstrap` against it over SSH."""

from __future__ import annotations

import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.page.made import small
from tests.page.pushed import Registry, push

from .commands import ROOT, SandboxError
from .images import STACK, stack_image
from .sandbox import Sandbox

DOMAIN = "registry.test"
USER = "demo"
ENVIRONMENT = ROOT / ".sandbox" / "demo.env"


def settings_text(sandbox: Sandbox, **changes: str) -> str:
    """The text of a `.env` for the sandbox's server and its test authority."""
    values = {
        "REGISTRY_DOMAIN": DOMAIN,
        "ACME_EMAIL": "operator@registry.test",
        "REGISTRY_USER": USER,
        "ACME_SERVER": "https://acme.test:14000/dir",
        "ACME_CA_BUNDLE": str(sandbox.directory / "acme-ca.pem"),
        **{f"{name.upper()}_IMAGE": stack_image(name) for name in STACK},
    } | changes
    return "".join(f"{key}={value}\n" for key, value in values.items())


def fab(sandbox: Sandbox, settings: Path) -> list[str]:
    """The command that runs a task against the sandbox's server: one word each, none with a space.

    Its docker client talks to the sandbox's client machine, which trusts the test authority.
    """
    return [
        "env", f"ENV_FILE={settings}", f"DOCKER_HOST=unix://{sandbox.client_socket}",
        str(ROOT / "fab"), "--ssh-config", str(sandbox.directory / "ssh_config"), "--hosts", "server",
    ]  # fmt: skip


def start() -> None:
    """Start the sandbox, bootstrap its server, and say how to use it. Twice is as good as once."""
    sandbox = Sandbox("demo", ROOT)
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", flush=True)

    print("A demo on this machine: Docker where it is missing (Debian, Ubuntu), a few small images,")
    print("three containers, all below .sandbox/. The first time takes two or three minutes.")
    print("`./inv demo --stop` removes the containers and their data.\n", flush=True)
    sandbox.up(say)
    settings = sandbox.directory / "settings.env"
    settings.write_text(settings_text(sandbox))
    command = fab(sandbox, settings)
    print(f"\n$ fab -H {DOMAIN} bootstrap", flush=True)
    password, proof = _bootstrap(command, sandbox.directory / "password")
    registry = Registry(DOMAIN, sandbox.port(443), sandbox.directory / "ca.pem", f"{USER}:{password}")
    say(f"{push(small(int(time.time()), real=True, odd=False), registry)} tags of some images, for the page to show")
    ENVIRONMENT.touch(mode=0o600)
    ENVIRONMENT.write_text(_environment(sandbox, command, password))
    print(_farewell(sandbox, password, proof))


def _bootstrap(command: Sequence[str], kept: Path) -> tuple[str, list[str]]:
    """Run it and show what it prints. Returns the account's password, which it shows only once,
    and what it says of the proof.
    """
    proof = []
    with subprocess.Popen([*command, "bootstrap"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            if found := re.search(r"password \(shown this once\): (\S+)", line):
                kept.touch(mode=0o600)
                kept.write_text(found[1])
            if found := re.search(r"strangers refused, .*", line):
                proof.append(found[0])
    if running.returncode:
        raise SandboxError("bootstrap failed; its last lines above say why")
    if not kept.is_file():
        # The account was there, its password is lost: as anyone would, set another.
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(20))
        change = [*command, "htpasswd", "--user", USER]
        subprocess.run(change, input=kept.read_text() + "\n", text=True, check=True)
    return kept.read_text(), proof


def stop() -> None:
    """Remove the demo's containers, networks, volumes and files from this machine."""
    Sandbox("demo", ROOT).down()
    ENVIRONMENT.unlink(missing_ok=True)
    print("the demo is gone; the engine and the images that it built stay for the next one")


def _environment(sandbox: Sandbox, command: Sequence[str], password: str) -> str:
    values = {
        "SSH_HOST": "127.0.0.1",
        "SSH_PORT": sandbox.port(22),
        "SSH_USER": "root",
        "SSH_KEY": sandbox.directory / "id_ed25519",
        "KNOWN_HOSTS": sandbox.directory / "known_hosts",
        "REGISTRY_DOMAIN": DOMAIN,
        "HTTPS_PORT": sandbox.port(443),
        "HTTP_PORT": sandbox.port(80),
        "CA_FILE": sandbox.directory / "ca.pem",
        "REGISTRY_USER": USER,
        "REGISTRY_PASSWORD": password,
        "DEPLOY_DIR": "/docker-registry",
        "FAB": " ".join(command),
    }
    return "".join(f"{key}={shlex.quote(str(value))}\n" for key, value in values.items())


def _farewell(sandbox: Sandbox, password: str, proof: Sequence[str]) -> str:
    proven = "\n".join(f"  {line}" for line in proof)
    return f"""
Your registry runs: https://{DOMAIN}, on this machine at 127.0.0.1:{sandbox.port(443)}
Account: {USER}, password: {password}
Proven with a docker client on another machine of the sandbox:
{proven}

The page, with images of several kinds: https://{DOMAIN}:{sandbox.port(443)}/
Your browser knows neither the name nor the test authority, so give it a profile of its own:
  chromium --user-data-dir=$(mktemp -d) --host-resolver-rules='MAP {DOMAIN} 127.0.0.1' \\
       --ignore-certificate-errors https://{DOMAIN}:{sandbox.port(443)}/

Try:
  . .sandbox/demo.env
  curl --cacert $CA_FILE --resolve $REGISTRY_DOMAIN:$HTTPS_PORT:127.0.0.1 \\
       -u $REGISTRY_USER:$REGISTRY_PASSWORD https://$REGISTRY_DOMAIN:$HTTPS_PORT/v2/_catalog
  $FAB status
  $FAB push-test
  $FAB --list
  ./inv demo --stop"""
