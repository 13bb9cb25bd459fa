"""The tasks about copies of the registry: see __init__.py, of which this is a part."""

from __future__ import annotations

from invoke import Context, task

from .errors import UsageError, for_people


@task(
    help={
        "to": "The directory of this machine for the copies; with --verify or --list also one snapshot in it.",
        "keep": "How many snapshots stay there.",
        "list": "Show the snapshots.",
        "verify": "Read all of the newest one again, or of the one that --to names.",
        "json": "With --list: as JSON.",
    }
)
@for_people
def backup(  # noqa: PLR0913, PLR0917 - each is an option
    c: Context, to: str = "", keep: int = 7, list_: bool = False, verify: bool = False, json: bool = False
) -> None:
    """Copy all of it to this machine while everybody pushes: images, accounts, certificate, settings."""
    from . import report
    from .copies import taking
    from .running import server
    from .steps import backup

    if list_ and verify:
        raise UsageError("expected one of: --list, --verify")
    if not to:
        raise UsageError("where to? It takes a directory of this machine", "./fab -H … backup --to DIRECTORY")
    if list_:
        backup.show(to, as_json=json)
    elif verify:
        report.step("backup", lambda: backup.verify(to))
    else:
        host, settings = server(c)
        with taking.alone(host, settings, "backup"):
            report.step("backup", lambda: backup.backup(host, settings, to=to, keep=keep), host.option)


@task(
    iterable=["only"],
    help={
        "from": "The directory with the copies, for the newest; or one of them, DIRECTORY/SNAPSHOT.",
        "only": "Bring this repository, or this REPOSITORY:TAG, to a registry that runs; can be repeated.",
        "merge": "Bring all images that a running registry has not; nothing there is replaced.",
        "drill": "Change nothing anywhere: serve the copy on this machine, by Docker, and pull every tag from it.",
    },
)
@for_people
def restore(
    c: Context, from_: str = "", only: list[str] | None = None, merge: bool = False, drill: bool = False
) -> None:
    """Bring a copy to an empty server: images, accounts, certificate; or images of it to one that runs."""
    from . import report
    from .copies import taking, twins
    from .running import server
    from .settings import load
    from .steps import restore

    if not from_:
        raise UsageError("from where? It takes the directory of a backup", "./fab -H … restore --from DIRECTORY")
    if [bool(only), merge, drill].count(True) > 1:
        raise UsageError("expected one of: --only, --merge, --drill")
    if drill:
        report.step("restore", lambda: restore.drill(load(), from_))
        return
    host, settings = server(c)
    if only or merge:
        twins.require_first(host, settings)
        with taking.alone(host, settings, "restore --only" if only else "restore --merge"):
            report.step("restore", lambda: restore.add(host, settings, source=from_, only=only or ()), host.option)
    else:
        restore.restore(host, settings, from_)


@task(
    help={
        "to": "The new server, as behind -H: root@new.example.com. It is empty, or was the old one.",
        "back": "The way back, with all that was pushed since; or the end of a move that died.",
        "done": "DNS is known everywhere: the old server hands nobody over any more.",
    }
)
@for_people
def move(c: Context, to: str = "", back: bool = False, done: bool = False) -> None:
    """Move to another server while everybody works: images, accounts, certificate; the old one hands people over."""
    from .running import another, server
    from .steps import move

    if [bool(to), back, done].count(True) != 1:
        raise UsageError("expected one of: --to SERVER, --back, --done", "./fab -H … move --to root@new.example.com")
    host, settings = server(c, "move")
    if to:
        move.move(host, another(c, to), settings, to)
    elif back:
        move.back(host, settings, lambda name: another(c, name))
    else:
        move.done(host, settings, lambda name: another(c, name))


@task(
    name="move-to",
    positional=["where"],
    help={
        "where": "s3, the bucket of the settings, or disk.",
        "done": "Remove the images where they were before.",
        "yes": "With --done: do not ask.",
    },
)
@for_people
def move_to(c: Context, where: str, done: bool = False, yes: bool = False) -> None:
    """Bring the images to an S3 store, or back to the disk, while everybody works."""
    from .running import change, server
    from .steps import move_to

    if yes and not done:
        raise UsageError("--yes is for --done")
    if done:
        change(c, f"move-to {where} --done", move_to.done, to=where, yes=yes)
    else:
        move_to.move_to(*server(c, "move-to"), where)
