"""Exact commands and pure functions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke import Context

from fabfile.accounts.onhost import accounts_file as onhost_accounts
from fabfile.certificate import certbot
from fabfile.certificate.cron import cron_text
from fabfile.errors import StepError
from fabfile.machine import host
from fabfile.settings import HOME, Settings, load
from fabfile.stack import capacity, compose, templates
from fabfile.steps import check

UP = (
    "docker compose --ansi never --project-name private-docker-registry --file /docker-registry/compose.yml "
    "--env-file /dev/null "
)


CAPACITY = capacity.derived({"memory": 2 << 30, "cores": 2})


def test_commands(settings: Settings) -> None:
    assert " ".join(compose.up(settings)) == UP + "up --detach --quiet-pull"
    assert " ".join(certbot.renew(settings, dry_run=True)) == (
        UP + "run --rm --no-deps --no-TTY --quiet-pull --name private-docker-registry-certbot certbot "
        "renew --non-interactive --no-random-sleep-on-renew --cert-name registry.example.org --webroot "
        "-w /var/www/certbot --preferred-challenges http --dry-run"
    )
    assert " ".join(certbot.issue(settings, again=False)) == (
        UP + "run --rm --no-deps --no-TTY --quiet-pull --name private-docker-registry-certbot certbot "
        "certonly --webroot -w /var/www/certbot --preferred-challenges http --non-interactive "
        "--agree-tos -m you@example.org "
        "--server https://acme-v02.api.letsencrypt.org/directory "
        "--cert-name registry.example.org -d registry.example.org --keep-until-expiring"
    )
    assert "--force-renewal" in certbot.issue(settings, again=True)


def test_a_name_that_a_wildcard_covers_is_not_ordered_beside_it(
    env: Callable[[str], Settings],
) -> None:
    settings = env("REGISTRY_ALIASES=*.example.org a.b.example.org example.org\nACME_CHALLENGE=dns-01\n")
    command = " ".join(certbot.issue(settings, again=False))
    assert "--cert-name registry.example.org -d *.example.org -d a.b.example.org -d example.org" in command
    assert settings.names == (
        "registry.example.org",
        "*.example.org",
        "a.b.example.org",
        "example.org",
    )


def test_the_tree_is_the_same_every_time(settings: Settings) -> None:
    tree = templates.tree(settings, CAPACITY)
    assert tree == templates.tree(settings, CAPACITY)
    assert sorted(tree) == templates.names(settings)
    assert ".env" not in tree
    assert tree["settings.env"].mode == 0o600
    assert tree["inv"].mode == 0o755


def test_a_changed_registry_configuration_replaces_the_container(settings: Settings, tmp_path: Path) -> None:
    deploy = shutil.copytree(HOME / "deploy", tmp_path / "deploy")
    before = templates.tree(settings, CAPACITY, deploy)["compose.yml"].content
    with (deploy / "registry/config/config.yml.j2").open("a") as file:
        file.write("# another comment\n")
    assert templates.tree(settings, CAPACITY, deploy)["compose.yml"].content != before


def test_cron_text(env: Callable[[str], Settings]) -> None:
    text = cron_text(env("RENEW_SCHEDULE='* * * * *'\n"))
    renew, care = text.splitlines()[-2:]
    assert renew == (
        "* * * * * root cd /docker-registry && mkdir -p log && ./inv renew --log log/renew.log >>log/renew.log 2>&1"
    )
    assert re.fullmatch(
        r"\d{1,2} 4 \* \* \* root cd /docker-registry && mkdir -p log && "
        r"nice ionice -c 3 \./inv care --log log/care\.log >>log/care\.log 2>&1",
        care,
    )
    assert text.endswith("\n")  # cron passes over a last line without a line break
    assert "PATH=/usr/local/sbin" in text


@pytest.fixture
def env(env_file: Callable[[str], Path]) -> Callable[[str], Settings]:
    return lambda text: load(env_file(text))


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "Saving debug log to /x\nSome challenges have failed.\n  Domain: a.b\n  Type:   connection\n"
            "  Detail: 192.0.2.1: Fetching http://a.b/: Connection refused\n\nAsk for help",
            "192.0.2.1: Fetching http://a.b/: Connection refused",
        ),
        (
            "An unexpected error occurred:\nError creating new order :: too many certificates",
            "An unexpected error occurred: Error creating new order :: too many certificates",
        ),
        (
            "Saving debug log to /x\nAnother instance of Certbot is already running.\n",
            "Another instance of Certbot is already running.",
        ),
        ("", "it failed without a word"),
    ],
)
def test_the_reason_in_certbots_words(output: str, reason: str) -> None:
    assert certbot.reason(output) == reason


FACTS = {
    "system": ["debian 13"], "architecture": ["x86_64"], "uid": ["0"], "time": ["1000"],
    "disk_kib": ["20971520"], "docker": ["26.1.5"], "docker_client": ["yes"], "compose": ["2.26.1"],
    "python": ["3.13"], "cron": ["running"], "addresses": ["198.51.100.7 2001:db8::7"],
    "a": ["registry.example.org 198.51.100.7"], "aaaa": ["registry.example.org "],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name", "mark", "words"),
    [
        ({}, "", "ok", ""),
        ({"uid": ["1000"]}, "root", "failed", "log in as root"),
        ({"disk_kib": ["500000"]}, "free disk", "failed", "When the disk is full"),
        ({"time": ["9000"]}, "clock", "failed", "set-ntp"),
        ({"docker": [], "docker_client": []}, "docker", "failed", "provision"),
        ({"docker": [], "docker_error": ["Cannot connect"]}, "docker", "failed", "start docker"),
        ({"docker": [], "docker_error": ["permission denied"]}, "docker", "failed", "as root"),
        ({"docker": ["19.03.1"]}, "docker", "failed", "too old"),
        ({"compose": [""], "compose_v1": ["1.29.2"]}, "compose", "failed", "provision"),
        ({"python": [""]}, "python", "failed", "provision"),
        ({"cron": []}, "cron", "failed", "provision"),
        ({"port_taken": ['80 "apache2" 77']}, "port 80", "failed", "kill 77"),
        ({"port_container": ["443 running web /srv/web/compose.yml"]}, "port 443", "failed", "docker stop web"),
        ({"port_container": ["443 created r /docker-registry/compose.yml"]}, "port 443", "ok", ""),
        ({"a": ["registry.example.org "]}, "DNS registry.example.org", "failed", "A ADDRESS"),
        ({"a": ["registry.example.org 8.8.8.8"], "addresses": ["9.9.9.9"]},
         "A registry.example.org", "failed", "correct the A"),
        ({"a": ["registry.example.org 8.8.8.8"], "addresses": ["10.0.0.2"]},
         "A registry.example.org", "warn", "router"),
        ({"aaaa": ["registry.example.org 2001:db8::8"]}, "AAAA registry.example.org", "failed", "delete the AAAA"),
    ],
)  # fmt: skip
def test_check_judges(settings: Settings, changes: check.Facts, name: str, mark: str, words: str) -> None:
    rows = list(check.judged(FACTS | changes, settings, 1010.0))
    assert all(row.remedy for row in rows if row.mark == "failed")
    if not name:
        assert {row.mark for row in rows} == {"ok"}
        return
    (row,) = (row for row in rows if row.name == name)
    assert row.mark == mark
    assert words in row.remedy


def test_arguments_reach_a_command_as_they_are() -> None:
    machine = host.here()
    odd = ["a b", "it's", '"$(id)"', "`id`", "a\nb", ";|&", "*", ""]
    output = machine.run(["printf", "<%s>", *odd]).stdout
    assert output == "".join(f"<{argument}>" for argument in odd)


def test_large_input_arrives_whole_and_at_once() -> None:
    text = "x" * 3_000_000
    assert host.here().run(["wc", "-c"], input=text).stdout.strip() == str(len(text))


def test_a_function_is_called_through_a_shell_as_it_is_here(tmp_path: Path) -> None:
    """The way that SSH goes, but for SSH: source and arguments through standard input."""
    file = tmp_path / "htpasswd"
    file.write_text("a:b\nnonsense\n")
    machine = host.Host(Context().run, "far", local=False)
    with pytest.raises(StepError, match=rf"far: {file}:2: not an entry"):
        machine.call(onhost_accounts.listed, str(file))
    file.write_text("a:b\n")
    assert machine.call(onhost_accounts.listed, str(file)) == onhost_accounts.listed(str(file))
