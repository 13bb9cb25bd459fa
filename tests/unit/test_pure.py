"""Exact commands and pure functions."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke import Context

from fabfile.accounts.onhost import accounts_file as onhost_accounts
from fabfile.certificate import certbot
from fabfile.certificate.cron import cron_text
from fabfile.certificate.onhost import certbot as onhost_certbot
from fabfile.errors import StepError
from fabfile.machine import host, refusal, remote_call
from fabfile.machine.conversation import End
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.machine.rows import Facts
from fabfile.settings import HOME, Settings, load
from fabfile.stack import capacity, templates
from fabfile.stack.onhost import containers
from fabfile.steps import check

UP = (
    "docker compose --ansi never --project-name private-docker-registry --file /docker-registry/compose.yml "
    "--env-file /dev/null "
)


CAPACITY = capacity.derived({"memory": 2 << 30, "cores": 2})


def test_commands(settings: Settings) -> None:
    root = Path(settings.deploy_dir)
    assert " ".join(containers.compose(root, "up", "--detach", "--quiet-pull")) == UP + "up --detach --quiet-pull"
    assert " ".join(onhost_certbot.command(root, certbot.renew(settings, dry_run=True))) == (
        UP + "run --rm --no-deps --no-TTY --quiet-pull --name private-docker-registry-certbot certbot "
        "renew --non-interactive --no-random-sleep-on-renew --cert-name registry.example.org --webroot "
        "-w /var/www/certbot --preferred-challenges http --dry-run"
    )
    assert " ".join(certbot.issue(settings, again=False)) == (
        "certonly --webroot -w /var/www/certbot --preferred-challenges http --non-interactive "
        "--agree-tos -m you@example.org "
        "--server https://acme-v02.api.letsencrypt.org/directory "
        "--cert-name registry.example.org -d registry.example.org --keep-until-expiring"
    )
    assert "--force-renewal" in certbot.issue(settings, again=True)
    chained = dataclasses.replace(settings, acme_preferred_chain="ISRG Root X1")
    for args in (certbot.issue(chained, again=False), certbot.renew(chained, dry_run=False)):
        assert args[args.index("--preferred-chain") + 1] == "ISRG Root X1"
    # Roots of a test authority have other names.
    for args in (certbot.rehearse(chained), certbot.renew(chained, dry_run=True)):
        assert "--preferred-chain" not in args


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The docker commands that are run; there is an nginx."""
    found: list[str] = []

    def run(argv: list[str], *_: str) -> subprocess.CompletedProcess[str]:
        found.append(" ".join(argv))
        return subprocess.CompletedProcess(argv, 0, "0123456789ab\n", "")

    monkeypatch.setattr(containers, "run", run)
    return found


def test_the_commands_of_the_stack(settings: Settings, ran: list[str]) -> None:
    containers.create(settings.deploy_dir)
    containers.down(settings.deploy_dir)
    containers.logs(settings.deploy_dir, 20)
    containers.try_alone(Path(settings.deploy_dir))
    assert ran == [
        UP + "create", UP + "down --timeout 10", UP + "logs --no-color --timestamps --tail 20",
        UP + "run --rm --no-deps --no-TTY --quiet-pull nginx -t -q -c /etc/docker-registry/nginx/next/nginx.conf",
    ]  # fmt: skip


def test_the_nginx_that_runs_is_asked_without_compose(ran: list[str]) -> None:
    containers.try_inside()
    assert ran[0].startswith("docker ps --quiet --no-trunc --filter label=com.docker.compose.project=private-docker-")
    assert ran[1:] == ["docker exec 0123456789ab nginx -t -q -c /etc/docker-registry/nginx/next/nginx.conf"]


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
        "* * * * * root if [ -f /docker-registry/by-cron.sh ]; then rm -f /run/private-docker-registry.away; "
        "cd /docker-registry && sh ./by-cron.sh; else sh /etc/private-docker-registry/away; fi"
    )
    assert re.fullmatch(
        r"\d{1,2} 4 \* \* \* root if \[ -f /docker-registry/by-cron\.sh \]; then "
        r"cd /docker-registry && mkdir -p log && "
        r"nice ionice -c 3 \./inv care --log log/care\.log >>log/care\.log 2>&1; fi",
        care,
    )
    # away.sh knows the directory by these words, in the file of an older version, too.
    assert "cd /docker-registry && " in text
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
    "python": ["3.13"], "python_path": ["/usr/bin/python3"], "cron": ["running"],
    "addresses": ["198.51.100.7 2001:db8::7"],
    "a": ["registry.example.org 198.51.100.7"], "aaaa": ["registry.example.org "],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name", "mark", "words"),
    [
        ({}, "", "ok", ""),
        ({"uid": ["1000"]}, "root", "failed", "log in as root"),
        ({"disk_kib": ["500000"]}, "free disk", "failed", "When the disk is full"),
        ({"disk_kib": ["900000"], "store": ["registry:2"]}, "free disk", "failed", "gc --now"),
        ({"images_kib": ["900000"], "store": ["registry:2"]}, "images' disk", "failed", "gc --now"),
        ({"time": ["9000"]}, "clock", "failed", "set-ntp"),
        ({"docker": [], "docker_client": []}, "docker", "warn", "bootstrap installs it"),
        ({"docker": [], "docker_client": [], "system": ["alpine 3.22"]}, "docker", "failed", "install Docker by hand"),
        ({"docker": [], "docker_client": ["yes"]}, "docker", "warn", "bootstrap starts it"),
        ({"docker": ["5.4.2"], "docker_kind": ["podman"]}, "docker", "failed", "apt-get remove podman-docker"),
        ({"docker_kind": ["rootless"]}, "docker", "failed", "the engine that runs as root"),
        ({"docker_kind": ["snap"]}, "docker", "failed", "snap remove docker"),
        ({"docker": [], "docker_denied": ["yes"]}, "docker", "failed", "as root"),
        ({"docker": ["19.03.1"]}, "docker", "failed", "too old"),
        ({"compose": [""], "compose_v1": ["1.29.2"]}, "compose", "warn", "bootstrap installs it"),
        ({"compose": ["2.10.0"]}, "compose", "failed", "too old"),
        ({"python": [""]}, "python", "warn", "bootstrap installs it"),
        ({"python_lacks": ["shutil", "ssl"]}, "python", "warn", "bootstrap installs the package python3"),
        ({"python_lacks": ["ssl"], "python_path": ["/opt/bin/python3"]}, "python", "failed", "move that one away"),
        ({"cron": []}, "cron", "warn", "bootstrap installs it"),
        ({"cron": [], "system": ["fedora 43"]}, "cron", "failed", "by hand"),
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
def test_check_judges(settings: Settings, changes: Facts, name: str, mark: str, words: str) -> None:
    rows = list(check.judged(FACTS | changes, settings, 1010.0))
    assert all(row.remedy for row in rows if row.mark == "failed")
    if not name:
        assert {row.mark for row in rows} == {"ok"}
        return
    (row,) = (row for row in rows if row.name == name)
    assert row.mark == mark
    assert words in row.remedy


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-4.4, "as on this machine, to a minute"),
        (75, "the server's is 75 seconds ahead of this machine's"),
        (-34560000, "the server's is 400 days behind this machine's"),
        (10800, "the server's is 3 hours ahead of this machine's"),
    ],
)
def test_a_wrong_clock_has_a_direction_and_an_owner(seconds: float, words: str) -> None:
    assert check.clock(seconds) == words


def test_arguments_reach_a_command_as_they_are() -> None:
    machine = host.here()
    odd = ["a b", "it's", '"$(id)"', "`id`", "a\nb", ";|&", "*", ""]
    output = machine.run(["printf", "<%s>", *odd]).stdout
    assert output == "".join(f"<{argument}>" for argument in odd)


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "csh", "tcsh", "fish"])
def test_arguments_reach_a_command_through_any_login_shell(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    odd = [
        "a b",
        "it's",
        '"$(id)"',
        "`id`",
        "a\nb",
        ";|&",
        "*",
        "",
        "wow!",
        "back\\slash\\n",
        "é日",
        "%s",
        "-n",
        "\\0101",
    ]
    command = host.for_any_shell(shlex.join(["printf", "<%s>", *odd]))
    assert "\n" not in command
    done = subprocess.run([shell, "-c", f"printf '\\036' && {command}"], capture_output=True, check=True)
    assert done.stdout.decode() == "\x1e" + "".join(f"<{argument}>" for argument in odd)
    assert host.for_any_shell("sudo -n -- true 'a b'") == "sudo -n -- true 'a b'"


def test_check_asks_for_every_module_that_is_imported_below_onhost() -> None:
    trees = [ast.parse(path.read_text("utf-8")) for path in (HOME / "fabfile").glob("*/onhost/*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    assert found - {"__future__"} <= set(remote_call.MODULES)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ('Please login as the user "debian" rather than the user "root".', "./fab -H debian@far TASK"),
        ("Please login as the ec2-user", "ssh root@far true"),
        ("Password change required but no TTY available.", "log in once and change the password: ssh root@far"),
        ("Your password has expired.", "log in once and change the password: ssh root@far"),
        ("WARNING: Your password has expired.", "log in once"),
        ("You are required to change your password immediately (administrator enforced).", "log in once"),
        ("This account is currently not available.", "./fab -H USER@far TASK"),
        ("This service allows sftp connections only.", "./fab -H USER@far TASK"),
        ("", "ssh root@far true"),
    ],
)
def test_what_a_server_says_instead(said: str, remedy: str) -> None:
    error = refusal.instead("root@far", End(said, 142, began=False))
    assert error.what.startswith("root@far: the server ran nothing of ours")
    assert said in error.what
    assert "(exit status 142)" in error.what
    assert remedy in str(error.remedies)
    assert refusal.ssh("anna@far:2222") == "ssh -p 2222 anna@far"


@pytest.mark.parametrize(
    ("said", "what", "remedy"),
    [
        ("unknown flag: --ansi\n\nUsage: docker [OPTIONS] COMMAND\n  debug|info|error",
         "Compose version 2", "provision"),
        ("docker: 'compose' is not a docker command.", "Compose version 2 is missing", "provision"),
        ("OCI runtime exec failed: write /tmp/runc-process28: no space left on device: unknown",
         "Docker cannot write to /tmp of the server: no space left on device", "df -h /tmp"),
        ("OCI runtime exec failed: open /var/tmp/runc-process5: read-only file system: unknown",
         "cannot write to /var/tmp of the server: read-only", "df -i /var/tmp"),
        ("nginx: [emerg] unknown directive", "nginx -t: nginx: [emerg] unknown directive", "that line"),
    ],
)  # fmt: skip
def test_what_docker_says_is_told(said: str, what: str, remedy: str) -> None:
    with pytest.raises(RefusedError) as refused:
        containers.run(["sh", "-c", f"echo {shlex.quote(said)} >&2; exit 125"], "nginx -t", "correct that line")
    assert what in refused.value.what
    assert remedy in str(refused.value.remedies)


def test_a_line_in_deploy_is_wrong_where_nginx_says_so_alone() -> None:
    assert "deploy/" in containers._correct("nginx: [emerg] unknown directive")
    assert containers._correct("Error: No such container: abc") == "./fab -H … check; what ran before goes on"


def test_an_interrupt_is_one_though_the_terminal_is_gone() -> None:
    """As with a SIGHUP: there is nobody to tell."""
    script = (
        "import os\nfrom fabfile import command\nos.close(2)\n"
        "try:\n    command.stopping(1, None)\nexcept KeyboardInterrupt:\n    os._exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=HOME, check=False).returncode == 7


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
