"""A DEPLOY_DIR that is empty although this server has been a registry: mostly a disk that is not mounted."""

from __future__ import annotations

from ..errors import StepError


def found(names: str) -> str:
    """Who still names the directory, in words. names: what away.sh says."""
    return " and ".join(part for part in (_file(names), _containers(names)) if part)


def remedy(directory: str, names: str) -> str:
    """What to type on the server. names: what away.sh says."""
    gone = [f"rm {_file(names)}" if _file(names) else "", _remove(names)]
    begin = " && ".join(filter(None, gone))
    return (
        f"is its disk mounted? on the server: findmnt -T {directory}, mount -a; "
        f"if all that was there is gone for good, {begin} lets you begin anew"
    )


def error(host: str, directory: str, names: str) -> StepError:
    """The refusal of a task. host: the server's name; names: what away.sh says."""
    what = f"{host}: nothing was changed: {directory} is empty, but {found(names)} belong to it"
    return StepError(what, remedy(directory, names))


def _file(names: str) -> str:
    return " ".join(name for name in names.split() if name.startswith("/"))


def _ids(names: str) -> list[str]:
    return [name for name in names.split() if not name.startswith("/")]


def _containers(names: str) -> str:
    return f"the containers {', '.join(_ids(names))}" if _ids(names) else ""


def _remove(names: str) -> str:
    return f"docker rm -f {' '.join(_ids(names))}" if _ids(names) else ""
