"""The tasks about what is in the registry: see __init__.py, of which this is a part."""

from __future__ import annotations

from invoke import Context, task

from .errors import UsageError, for_people


@task(
    optional=["undo"],
    help={
        "repository": "Show the tags of this repository; `images team-a/app` is short for it.",
        "search": "Show only repositories and tags with this in their name.",
        "json": "Print it as JSON, with the tags of each repository.",
        "delete": "Remove this tag, REPOSITORY:TAG, or this image, REPOSITORY@sha256:….",
        "digest": "With --delete: the image with all its tags.",
        "yes": "With --delete: do not ask.",
        "undo": "Bring the last removal back, or the one of this name.",
    },
)
@for_people
def images(  # noqa: PLR0913, PLR0917 - each is an option
    c: Context,
    repository: str = "",
    search: str = "",
    json: bool = False,
    delete: str = "",
    digest: bool = False,
    yes: bool = False,
    undo: str | bool = "",
) -> None:
    """Show what is in the registry: repositories, or the tags of one, with sizes; delete a tag; undo that."""
    from .running import change, server
    from .steps import images

    if [bool(repository or search or json), bool(delete), bool(undo)].count(True) > 1:
        raise UsageError("expected one of: a list (NAME, --search, --json), --delete IMAGE, --undo")
    if (digest or yes) and not delete:
        raise UsageError("--digest and --yes are for --delete IMAGE")
    if delete:
        found = images.look(*server(c), delete, whole=digest)
        if not images.agreed(found, delete, yes=yes):
            print("nothing was deleted")
            return
        options = {"image": delete, "whole": digest, "digest": found["digest"]}
        change(c, f"images --delete {delete}", images.delete, **options)
    elif undo:
        change(c, "images --undo", images.undo, run="" if undo is True else undo)
    else:
        details = bool(repository or search or json)
        images.show(images.listed(*server(c), repository, search, details=details), as_json=json)


@task(
    help={
        "dry_run": "Only say what would be freed.",
        "now": "For a full disk: what goes is not kept for a day.",
        "untagged": "Images without a tag go, too, that were neither pushed nor used for that long: 30d, 12h.",
        "yes": "Do not ask.",
        "grace": "How long a layer must be unused, instead of 1d; with --now it is 15min at most.",
    }
)
@for_people
def gc(  # noqa: PLR0913, PLR0917 - each is an option
    c: Context, dry_run: bool = False, now: bool = False, untagged: str = "", yes: bool = False, grace: str = ""
) -> None:
    """Free what nothing needs on the disk, while everybody pushes and pulls. It shows what goes, and asks."""
    from . import report
    from .running import change, run
    from .steps import gc

    options = {"now": now, "untagged": untagged, "grace": grace}
    gc.require_asked(yes=yes or dry_run)
    if not yes or dry_run:
        run(c, "gc", gc.gc, alone=False, dry=True, **options)
    if dry_run:
        return
    if yes or report.agreed("Take it?"):
        change(c, "gc", gc.gc, **options)
    else:
        print("nothing was taken")


@task(
    help={
        "yes": "Do it; without this it is only shown.",
        "yes_really": "With --yes: also where a repository would lose its last tag, or more than half of its tags.",
        "all": "Show what stays, too.",
    }
)
@for_people
def retention(c: Context, yes: bool = False, yes_really: bool = False, all: bool = False) -> None:
    """Show which tags deploy/retention.ini keeps and why; with --yes, remove the others."""
    from .running import change, run
    from .steps import retention

    if yes_really and not yes:
        raise UsageError("--yes-really is for --yes")
    options = {"yes": yes, "really": yes_really, "every": all}
    if yes:
        change(c, "retention --yes", retention.retention, **options)
    else:
        run(c, "retention", retention.retention, alone=False, **options)
