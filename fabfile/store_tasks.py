"""The tasks about what is in the registry: see __init__.py, of which this is a part."""

from __future__ import annotations

from invoke import Context, task

from .errors import for_people


@task(
    help={
        "repository": "Show the tags of this repository; `images team-a/app` is short for it.",
        "search": "Show only repositories and tags with this in their name.",
        "json": "Print it as JSON, with the tags of each repository.",
    },
)
@for_people
def images(c: Context, repository: str = "", search: str = "", json: bool = False) -> None:
    """Show what is in the registry: repositories, or the tags of one, with sizes. Changes nothing."""
    from . import server
    from .steps import images

    details = bool(repository or search or json)
    images.show(images.listed(*server(c), repository, search, details=details), as_json=json)
