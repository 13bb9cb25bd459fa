"""The command line: `./fab -H root@registry.example.com TASK`. One thin task a step.

Only invoke is imported here; a task imports its step when it runs, so `--list` stays fast and the
steps work on a server without fabric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, task

from .copy_tasks import backup, move, move_to, restore
from .errors import UsageError, for_people
from .running import agree, over, require_one, run, server
from .standby_tasks import forget, promote, standby
from .store_tasks import gc, images, retention
from .upgrade_tasks import pin, rollback, upgrade
from .watch_tasks import doctor, events, logs, status

if TYPE_CHECKING:
    from .machine.host import Host
    from .settings import Settings


@task(
    help={
        "domain": "REGISTRY_DOMAIN: the name of the registry.",
        "email": "ACME_EMAIL: your mail address, for the certificate authority.",
        "server": "HOSTS: the server, for example root@registry.example.com.",
        "staging": "A test certificate first, which no client trusts.",
        "fingerprint": "Accept this host key, SHA256:…, which you have compared.",
    }
)
@for_people
def init(  # noqa: PLR0913, PLR0917 - each is an option
    c: Context, domain: str = "", email: str = "", server: str = "", staging: bool = False, fingerprint: str = ""
) -> None:
    """Begin: ask for the settings, write .env, accept the server's host key, and check the server."""
    from .steps import init

    init.begin(c, fingerprint, REGISTRY_DOMAIN=domain, ACME_EMAIL=email, HOSTS=server, ACME_SERVER="staging" * staging)


@task(
    help={
        "json": "Print the table as JSON.",
        "lifecycle": "STORAGE=s3: let it end broken uploads after 8 days.",
    }
)
@for_people
def check(c: Context, json: bool = False, lifecycle: bool = False) -> None:
    """Is this server fit? System, disk, Docker, ports, DNS, clock. Changes nothing."""
    from .steps import check

    def body(host: Host, settings: Settings) -> None:
        check.show(check.check(host, settings, lifecycle=lifecycle), as_json=json, option=host.option)

    over(c, "check", body, as_json=json)


@task
@for_people
def provision(c: Context) -> None:
    """Install what is missing of Docker, Compose 2, cron and Python on Debian or Ubuntu."""
    from .steps import provision

    run(c, "provision", provision.provision)


@task
@for_people
def ship(c: Context) -> None:
    """Bring the images from this machine's Docker to the server through SSH: what it lacks."""
    from .steps import ship

    run(c, "ship", ship.ship)


@task(help={"diff": "Only show what would change, line by line."})
@for_people
def sync(c: Context, diff: bool = False) -> None:
    """Render deploy/ into DEPLOY_DIR on the server: only what differs, all or nothing."""
    from .steps import sync

    run(c, "sync --diff" if diff else "sync", sync.sync, diff=diff, alone=not diff)


@task(
    iterable=["repository"],
    help={
        "user": "The account to add or to change.",
        "role": "pull, push (and pull), admin (delete and list all, too), or metrics; a new account gets push.",
        "repository": "Limit it to this repository, 'team-a/*' for many; can be repeated; '*' is all.",
        "generate": "Make a password and show it once, instead of asking for one.",
        "keep": "Keep the password, change the rest.",
        "remove": "Remove the account of this name.",
        "import": "Add the accounts of this htpasswd file of your own machine.",
        "list": "List the accounts.",
        "json": "With --list: as JSON.",
    },
)
@for_people
def htpasswd(  # noqa: PLR0913, PLR0917 - each is an option
    c: Context,
    user: str = "",
    role: str = "",
    repository: list[str] | None = None,
    generate: bool = False,
    keep: bool = False,
    remove: str = "",
    import_: str = "",
    list_: bool = False,
    json: bool = False,
) -> None:
    """Add an account or change it (the password is asked, or the first line of stdin); remove; list."""
    from .accounts import passwords
    from .steps import htpasswd

    if [bool(user), bool(remove), bool(import_), list_].count(True) != 1:
        raise UsageError("expected one of: --user NAME, --remove NAME, --import FILE, --list")
    if (generate or keep) and (not user or generate == keep):
        raise UsageError("expected --user NAME, with --generate or --keep or neither")
    rights = passwords.rights(role, repository)
    if user:
        password = None if keep else passwords.new_password(user, generate=generate)
        options = {"password": password, "rights": rights, "show": generate}
        agree(c, f"htpasswd {user}", htpasswd.put, htpasswd.put_on_all, user=user, **options)
    elif remove:
        agree(c, f"htpasswd --remove {remove}", htpasswd.remove, htpasswd.remove_on_all, user=remove)
    elif import_:
        agree(c, f"htpasswd --import {import_}", htpasswd.bring, htpasswd.bring_on_all, file=import_, rights=rights)
    else:
        htpasswd.show(htpasswd.listed(*server(c)), as_json=json)


@task
@for_people
def up(c: Context) -> None:
    """Make what was synced run: nginx -t, start the containers, reload where something changed."""
    from .steps import up

    run(c, "up", up.up)


@task
@for_people
def down(c: Context) -> None:
    """Stop and remove the containers. Data, accounts and certificates stay on the server."""
    from .steps import down

    run(c, "down", down.down)


@task(
    name="init-letsencrypt",
    help={"force": "Order although the old one is good, during a pause, or against the look before it."},
)
@for_people
def init_letsencrypt(c: Context, force: bool = False) -> None:
    """Get the certificate and serve it. One that works is never taken away."""
    from .steps import init_letsencrypt

    run(c, "init-letsencrypt", init_letsencrypt.init_letsencrypt, force=force)


@task(
    help={"dry_run": "Only rehearse it: certbot asks Let's Encrypt's test service, or ACME_SERVER where that is a URL."}
)
@for_people
def renew(c: Context, dry_run: bool = False) -> None:
    """Renew the certificate where it is due, and check that clients get the one on disk."""
    from .steps import renew

    run(c, "renew --dry-run" if dry_run else "renew", renew.renew, dry_run=dry_run)


@task
@for_people
def schedule(c: Context) -> None:
    """Have cron on the server run `inv renew`: one file in /etc/cron.d, nobody's crontab."""
    from .steps import schedule

    run(c, "schedule", schedule.schedule)


@task(
    name="push-test",
    help={
        "from": "Whose docker client to use: here (this machine's) or host (the server's).",
        "json": "Print a receipt as JSON instead of lines.",
        "verbose": "A line for each part, not only when one fails.",
    },
)
@for_people
def push_test(c: Context, from_: str = "here", json: bool = False, verbose: bool = False) -> None:
    """Prove it: log in, push, pull, compare; no or wrong credentials are refused. Leaves about 2 KB."""
    from .machine import lock
    from .steps import push_test

    def body(host: Host, settings: Settings) -> None:
        push_test.prove(host, settings, source=from_, as_json=json, verbose=verbose)

    over(c, "push-test", body, guard=lock.exclusive, as_json=json)


@task(help={"yes": "Do not ask."})
@for_people
def unlock(c: Context, yes: bool = False) -> None:
    """Show who holds the server's lock, and clear it when their machine is gone."""
    from .machine import ssh
    from .steps import unlock

    ssh.require_host(c)
    require_one(c, "unlock")
    unlock.unlock(ssh.remote(c), yes=yes)


@task
@for_people
def bootstrap(c: Context) -> None:
    """All of it, in order: check, provision, sync, htpasswd, (ship), up, init-letsencrypt, schedule, push-test."""
    from .machine import lock
    from .running import fleet, second, several
    from .steps import bootstrap, standby

    if several(c):
        servers = fleet(c, "bootstrap")
        servers.require_all("bootstrap")
        bootstrap.together(servers)
        return
    host, settings = server(c, "bootstrap")
    bootstrap.bootstrap(host, settings)
    if settings.standby:
        other = second(c, settings)
        with lock.exclusive(host, settings, "standby"):
            standby.standby(host, other, settings, synced=True)


@task(
    help={
        "yes": "Do it; without this the plan is shown and nothing is changed.",
        "back": "The way back: the old containers run again, ours and our files go.",
    }
)
@for_people
def adopt(c: Context, yes: bool = False, back: bool = False) -> None:
    """Take over a registry that the old scripts set up: its images, accounts and certificate stay."""
    from .steps import adopt

    if yes and back:
        raise UsageError("expected one of: --yes, --back")
    if back:
        run(c, "adopt --back", adopt.back)
    elif yes:
        adopt.adopt(*server(c, "adopt"))
    else:
        host, settings = server(c, "adopt")
        adopt.show(adopt.planned(host, settings), host)


# In the order in which people need them, for `--list` (command.grouped); the README's tables have it too.
GROUPS: dict[str, tuple[Any, ...]] = {
    "Setting it up": (
        init, bootstrap, check, provision, sync, htpasswd, ship, up, init_letsencrypt, schedule, push_test),
    "Every day": (status, doctor, images, retention, gc, renew, events, logs, down),
    "Now and then": (
        backup, restore, move, move_to, standby, promote, forget, upgrade, rollback, pin, adopt, unlock),
}  # fmt: skip
ns = Collection(*(each for group in GROUPS.values() for each in group))
ns.configure({"groups": {title: [each.name for each in group] for title, group in GROUPS.items()}})
