"""Whose DEPLOY_DIR is, and all that root's cron runs there; and the disk below it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from .test_adopt import Old, old
from .world import DEPLOY_DIR, PASSWORD, USER, World, first

__all__ = ["old"]
ANNA = 1234
VICTIM = "/victim"


def rows(world: World) -> dict[str, dict[str, str]]:
    found = json.loads(world.fab("check", "--json", ok=None).stdout)
    return {row["name"]: row for row in found}


@pytest.mark.parametrize(
    ("place", "made", "path"),
    [
        (DEPLOY_DIR, f"mkdir {DEPLOY_DIR} && chown {ANNA} {DEPLOY_DIR}", DEPLOY_DIR),
        (DEPLOY_DIR, f"mkdir -m 777 {DEPLOY_DIR}", DEPLOY_DIR),
        (DEPLOY_DIR, f"mkdir -m 775 {DEPLOY_DIR} && chgrp {ANNA} {DEPLOY_DIR}", DEPLOY_DIR),
        (DEPLOY_DIR, f"mkdir -p {DEPLOY_DIR}/nginx && chown {ANNA} {DEPLOY_DIR}/nginx", f"{DEPLOY_DIR}/nginx"),
        (
            DEPLOY_DIR,
            f"mkdir -p {DEPLOY_DIR}/fabfile/machine/onhost && chmod 777 {DEPLOY_DIR}/fabfile/machine/onhost",
            f"{DEPLOY_DIR}/fabfile/machine/onhost",
        ),
        ("/home/anna/registry", f"mkdir -p /home/anna && chown {ANNA} /home/anna", "/home/anna"),
        ("/var/tmp/registry", "true", "/var/tmp"),  # noqa: S108
        (
            "/srv/registry",
            f"mkdir -p /home/anna/r && chown {ANNA} /home/anna && ln -sfn /home/anna/r /srv/registry",
            "/home/anna",
        ),
    ],
)  # fmt: skip
def test_a_directory_that_is_not_roots_alone_is_refused(clean: World, place: str, made: str, path: str) -> None:
    """Finding 3: whoever can change it has root run programs of theirs, at cron's next minute."""
    try:
        clean.configure(DEPLOY_DIR=place)
        clean.server(made)
        before = clean.server(f"find {place} -printf '%p %U %m\\n' 2>/dev/null", check=False)
        refused = clean.fab("sync", ok=False)
        assert f"somebody else than root can change {path}" in refused.stderr
        assert (f"chown root: {path}" in refused.stderr) == path.startswith(DEPLOY_DIR)
        assert clean.server(f"find {place} -printf '%p %U %m\\n' 2>/dev/null", check=False) == before
        row = rows(clean)["directory" if path.startswith(DEPLOY_DIR) else "above"]
        assert row["mark"] == "failed"
        assert path in row["found"]
        assert "nothing was changed" in clean.fab("bootstrap", ok=False).stderr
        if path.startswith(DEPLOY_DIR):
            # What it says to type is enough.
            command = refused.stderr.partition("on the server: ")[2].splitlines()[0]
            clean.server(command)
            assert "new files in" in clean.fab("sync").stdout
            assert rows(clean)["directory"]["mark"] == "ok"
    finally:
        clean.server("rm -rf /home/anna /var/tmp/registry /srv/registry")
        clean.configure()


JOURNAL = {"moves": [["0", "/etc/cron.d/evil"]], "remove": [f"{VICTIM}/file"], "digests": {}}
RECORD = {
    "owners": {VICTIM: [ANNA, ANNA], "registry/data": [ANNA, ANNA]}, "modes": {VICTIM: 0o777},
    "files": [f"../..{VICTIM}/file"],
    "containers": [], "switched": True, "placeholder": "", "accounts": False, "taken": {VICTIM: [ANNA, ANNA, 0o777]},
}  # fmt: skip
LEFT = {
    "a journal of sync": (
        ("sync",),
        f"mkdir -p .sync/stage && echo evil >.sync/stage/0 && echo '{json.dumps(JOURNAL)}' >.sync/journal",
    ),
    "a fifo as its lock": (("sync",), "mkdir -p .sync && mkfifo .sync/lock && echo '{}' >.sync/journal"),
    "a manifest of others' names": (
        ("sync",),
        f"mkdir -p .sync && echo '{{\"{VICTIM}/file\": \"0\"}}' >.sync/manifest",
    ),
    "a record of adopt": (
        ("adopt", "--yes"),
        f"mkdir -p .adopt && echo '{json.dumps(RECORD)}' >.adopt/record.json && "
        "mkdir -p registry/data/docker/registry/v2/repositories/x/_manifests",
    ),
    "a record, and the way back": (
        ("adopt", "--back"),
        f"mkdir -p .adopt && echo '{json.dumps(RECORD)}' >.adopt/record.json",
    ),
    "a link as the audit log": (("sync",), f"mkdir log && ln -s {VICTIM}/file log/audit.log"),
    "a fifo as the audit log": (("sync",), "mkdir log && mkfifo log/audit.log"),
}  # fmt: skip


@pytest.mark.parametrize("what", first(LEFT, 2))
def test_what_a_stranger_left_there_is_not_obeyed(clean: World, what: str) -> None:
    """Files of ours that are an order to root: in a directory that somebody else owns they are none."""
    command, made = LEFT[what]
    place = "/opt/old"
    clean.server(
        f"mkdir -m 700 {VICTIM} && echo precious >{VICTIM}/file && mkdir {place} && cd {place} && ({made}) && "
        f"chown -R {ANNA}:{ANNA} ."
    )
    before = clean.server(f"find {VICTIM} -printf '%p %U %m %s\\n'")
    clean.configure(DEPLOY_DIR=place)
    try:
        started = time.monotonic()
        refused = clean.fab(*command, ok=False)
        assert time.monotonic() - started < 60
        assert "unexpected" not in refused.stderr, refused.stderr
        assert clean.server(f"find {VICTIM} -printf '%p %U %m %s\\n'") == before
        assert clean.server("ls /etc/cron.d/evil", check=False) == ""
        # And nobody waits for a lock that it holds.
        assert "nobody holds the lock" in clean.fab("unlock").stdout
    finally:
        clean.server(f"rm -rf {VICTIM} {place} /etc/cron.d/evil")
        clean.configure()


def test_no_foreign_package_is_run_on_the_server(deployed: World) -> None:
    """Debian and Ubuntu have an older invoke; cron's renewal is root's."""
    site = deployed.server("python3 -c 'import site; print(site.getsitepackages()[0])'").strip()
    deployed.server(f"mkdir -p {site}/invoke && echo 'raise SystemExit(\"a foreign one\")' >{site}/invoke/__init__.py")
    try:
        assert "renew" in deployed.server(f"{DEPLOY_DIR}/inv --list")
    finally:
        deployed.server(f"rm -rf {site}/invoke")


def test_what_lies_about_there_is_not_run(clean: World) -> None:
    """Modules with the names of Python's own, and compiled ones, which Python takes without a look at the source."""
    clean.bootstrap()
    evil = "import os; os.system('id >/root/evil')"
    make = (
        f"import py_compile, pathlib; root = pathlib.Path('{DEPLOY_DIR}'); src = root / 'x'\n"
        f'src.write_text("{evil}")\n'
        "for name in ('errors', 'command', 'here'):\n"
        "    py_compile.compile(str(src), str(root / 'fabfile/__pycache__' / "
        "(name + '.cpython-%d%d.pyc' % __import__('sys').version_info[:2])),"
        " invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)\n"
        "for name in ('json', 'ssl', 'fabfile/json', 'invoke', 'sitecustomize'):\n"
        "    (root / (name + '.py')).write_text(src.read_text())\n"
        "src.unlink()"
    )
    try:
        clean.server(f'mkdir -p {DEPLOY_DIR}/fabfile/__pycache__ && python3 -c "$1"', make)
        clean.server(f"cd {DEPLOY_DIR} && PYTHONPATH={DEPLOY_DIR} ./inv renew")
        assert clean.server("ls /root/evil", check=False) == ""
    finally:
        clean.clean()


@pytest.mark.long
def test_adopt_takes_it_over_and_gives_it_back(old: Old) -> None:
    world = old.world
    # As after `sudo mkdir` and `sudo chown anna`; the containers wrote data and certificates as root.
    world.server(
        f"cd {DEPLOY_DIR} && chown {ANNA}:{ANNA} . docker-compose.yml nginx nginx/* registry registry/auth "
        "registry/auth/* certbot && "
        "chmod 2775 . && chmod 666 docker-compose.yml && ln -s /etc/hostname link"
    )
    owners = (
        f"cd {DEPLOY_DIR} && find . ! -path './certbot/log/*' ! -path './registry/data/*' "
        "-printf '%p %U:%G %m\\n' | sort"
    )
    before = world.server(owners)
    plan = world.fab("adopt").stdout
    assert f"belongs to {ANNA}" in plan
    assert "becomes root's; --back gives it back" in plan
    assert world.server(owners) == before
    world.fab("adopt", "--yes")
    old.pull()
    theirs = world.server(
        f"cd {DEPLOY_DIR} && find . ! -type l ! -path './registry/*' '(' ! -uid 0 -o -perm /022 ')' | sort"
    )
    # What is not ours stays theirs, and nothing of it is used.
    assert theirs.split() == ["./docker-compose.yml", "./nginx/default.conf"]
    assert rows(world)["directory"]["mark"] == "ok"
    world.fab("adopt", "--back")
    old.pull()
    after = world.server(owners).splitlines()
    changed = set(before.splitlines()) ^ set(after)
    # Cron comes by each minute, or does not.
    names = {line.split()[0] for line in changed}
    assert {name for name in names if name not in ADDED and not name.startswith(("./log/quota", "./page"))} == set()


# Of ours, and empty: not worth being taken away.
ADDED = {
    "./certbot/hooks", "./certbot/rehearsal", "./certbot/log", "./log", "./log/audit.log", "./log/uses",
    "./log/uses/uses.log", "./log/uses/begun",
    "./registry/secrets", "./registry/secrets/http-secret", "./registry/sockets",
    "./registry/sockets/auth", "./registry/sockets/registry",
    "./registry/auth/.lock", "./registry/auth/htpasswd.adopted", "./certbot/attempts.json", "./certbot/www/.well-known",
    "./certbot/www/.well-known/acme-challenge", "./registry/sockets/auth/auth.sock",
    "./registry/sockets/registry/registry.sock", "./registry/auth/htpasswd",
}  # fmt: skip


@pytest.mark.long
def test_on_a_full_disk_accounts_and_certificates_go_on(clean: World, tmp_path: Path) -> None:
    """Finding 14: whoever may push fills the disk, and nothing of ours could be written."""
    clean.server(f"mkdir -p {DEPLOY_DIR} && mount -t tmpfs -o size=1400m,mode=755 tmpfs {DEPLOY_DIR}")
    try:
        clean.bootstrap()
        login = ("-u", f"{USER}:{PASSWORD}")
        left = "$(($(df -k --output=avail . | tail -1) - 150000))"
        clean.server(f"cd {DEPLOY_DIR} && fallocate -l {left}k before")
        file = tmp_path / "large"
        file.write_bytes(b"x" * 190_000_000)
        answer, _ = clean.pushing("disk/large", file).communicate(timeout=60)
        assert "no space left on device" in answer
        # The registry takes a broken upload away only later; the rest goes to somebody else.
        clean.server(f"cat /dev/zero >{DEPLOY_DIR}/full 2>/dev/null", check=False)
        assert clean.server(f"df -k --output=avail {DEPLOY_DIR} | tail -1").strip() == "0"
        clean.fab("htpasswd", "--user", "late", input="secret\n")
        assert clean.login("late", "secret") == 200
        clean.fab("htpasswd", "--remove", "late")
        assert clean.login("late", "secret") == 401
        clean.expire()
        assert "renewed" in clean.fab("renew").stdout
        shown = clean.fab("status", ok=None).stdout
        assert "warn" in next(line for line in shown.splitlines() if " disk " in line)
        assert clean.status("/v2/", *login) == 200
        clean.server(f"cd {DEPLOY_DIR}/registry/data && find . -path '*_uploads*' -exec touch -d '2 days ago' {{}} +")
        assert "freed" in clean.fab("gc", "--yes", "--grace", "0s", "--now").stdout
        # It is kept again by the next change for which there is room.
        clean.server(f"rm {DEPLOY_DIR}/full {DEPLOY_DIR}/before")
        clean.fab("htpasswd", "--user", "later", input="secret\n")
        assert int(clean.server(f"stat -c %s {DEPLOY_DIR}/.reserve")) == 64 << 20
    finally:
        clean.fab("down", ok=None)
        clean.server(f"umount -l {DEPLOY_DIR}")
        clean.clean()


@pytest.mark.long
@pytest.mark.parametrize("how", [pytest.param("full", marks=pytest.mark.long), "read-only"])
def test_tmp_of_the_server_cannot_be_written(deployed: World, how: str) -> None:
    """What needs it is told as what it is; what does not goes on."""
    fill = "cat /dev/zero >/tmp/full 2>/dev/null; true" if how == "full" else "mount -o remount,ro /tmp"
    deployed.server(f"mount -t tmpfs -o size=1m,mode=1777 tmpfs /tmp && {fill}")
    try:
        began = time.monotonic()
        for command, stdin in (
            (["htpasswd", "--user", "late"], "secret\n"),
            (["sync"], ""),
            (["status"], ""),
            (["init-letsencrypt"], ""),
            (["up"], ""),
            (["bootstrap"], ""),
        ):
            done = deployed.fab(*command, input=stdin, ok=None)
            told = done.stdout + done.stderr
            assert "deploy/" not in told, told
            assert "--debug" not in told, told
            if done.returncode:
                assert "df -i" in told or "mounted ro" in told or "mount shows" in told, (command, told)
        assert time.monotonic() - began < 200
    finally:
        deployed.server("umount -l /tmp")
    deployed.fab("htpasswd", "--user", "late", input="secret\n")
    assert deployed.login("late", "secret") == 200
    deployed.fab("htpasswd", "--remove", "late")
    deployed.fab("bootstrap")


@pytest.mark.long
@pytest.mark.parametrize("left", [pytest.param(0, marks=pytest.mark.long), 4, pytest.param(16, marks=pytest.mark.long)])
def test_nothing_raw_reaches_a_person_from_a_full_disk(clean: World, left: int) -> None:
    """Without what is kept for such a day; and what was changed is told as changed."""
    clean.server(f"mkdir -p {DEPLOY_DIR} && mount -t tmpfs -o size=1400m,mode=755 tmpfs {DEPLOY_DIR}")
    try:
        clean.bootstrap()
        clean.fab("htpasswd", "--user", "goes", input="secret\n")
        assert clean.login("goes", "secret") == 200
        clean.server(
            f"cd {DEPLOY_DIR} && rm .reserve && fallocate -l {left}k room; "
            "cat /dev/zero >full 2>/dev/null; rm room; true"
        )
        for command, stdin in (
            (["htpasswd", "--remove", "goes"], ""),
            (["htpasswd", "--user", "new"], "secret\n"),
            (["sync", "--diff"], ""),
            (["up"], ""),
            (["init-letsencrypt", "--force"], ""),
            (["schedule"], ""),
        ):
            done = clean.fab(*command, input=stdin, ok=None)
            told = done.stdout + done.stderr
            assert "--debug" not in told, told
            assert "deploy/" not in told, told
            if done.returncode:
                assert "df -i" in told, (command, told)
            names = clean.server(f"cat {DEPLOY_DIR}/registry/auth/htpasswd")
            if command[1:] == ["--remove", "goes"] and done.returncode:
                assert ("the accounts file is changed" in told) == ("goes:" not in names), told
        clean.server(f"rm {DEPLOY_DIR}/full")
        clean.fab("htpasswd", "--remove", "goes")
        assert clean.login("goes", "secret") == 401
        clean.fab("bootstrap")
    finally:
        clean.fab("down", ok=None)
        clean.server(f"umount -l {DEPLOY_DIR}")
        clean.clean()
