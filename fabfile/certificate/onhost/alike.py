"""What all servers of one registry have alike and `sync` does not bring, as the servers make it: secrets, and the
account at the ACME server. It goes from one to the others through the operator's memory, and through no file. (The
accounts of people: stack/onhost/accord.py.)
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from ...accounts.onhost import sessions
from ...layout import ACCOUNTS, CERTIFICATES, HTTP_SECRET, PAGE_SECRET, Service
from ...machine.onhost.atomic import RefusedError, locked, replace
from ...machine.onhost.owner import REGISTRY
from ...stack.onhost import containers
from . import acme_accounts

OWNERS = {HTTP_SECRET: (REGISTRY, 0), PAGE_SECRET: (0, 0)}
NAMES = {HTTP_SECRET: "http.secret", PAGE_SECRET: "the key of the page's sessions"}


class Alike(TypedDict):
    """files: name below DEPLOY_DIR -> content. account: at the ACME server, '' for none; parts: its files."""

    files: dict[str, str]
    account: str
    parts: dict[str, str]


def begun(directory: str) -> bool:
    """Whether this server has accounts: then it has been one of the registry, and the others take all from it."""
    return Path(directory, ACCOUNTS).is_file()


def of(directory: str, server: str, name: str, page: bool) -> Alike:
    """All of it. server: the ACME server's directory URL, '' where none is asked; name: of the certificate; page: its
    key is made where there is none. Raises RefusedError where something is missing.
    """
    root = Path(directory)
    if page:
        sessions.secret(root / PAGE_SECRET, make=True)
    wanted = [name for name in OWNERS if page or name != PAGE_SECRET]
    for each in wanted:
        if not (root / each).is_file():
            raise RefusedError(f"there is no {root / each}", "./fab -H … bootstrap")
    conf = f"{directory}/{CERTIFICATES}"
    account = acme_accounts.chosen(conf, server, name) if server else ""
    parts = {part: acme_accounts.part(conf, server, account, part) for part in acme_accounts.PARTS if account}
    return {"files": {each: (root / each).read_text() for each in wanted}, "account": account, "parts": parts}


def _restart_registry() -> None:
    """Where it runs: it reads its secret when it starts."""
    if ids := containers.nginx_container(Service.REGISTRY).split():
        containers.run(["docker", "restart", *ids], "docker restart", "./fab -H … up")


def take(directory: str, server: str, alike: Alike) -> list[str]:
    """Have it here, too. Returns what was another one before. server: as of `of`."""
    root, news = Path(directory), list[str]()
    for name, text in alike["files"].items():
        file = root / name
        if not file.is_file() or file.read_text() != text:
            with locked(file.with_name(".lock")):
                replace(file, text.encode(), 0o600, OWNERS[name])
            news.append(NAMES[name])
    if NAMES[HTTP_SECRET] in news:
        _restart_registry()
    if alike["account"] and acme_accounts.take(f"{directory}/{CERTIFICATES}", server, alike["account"], alike["parts"]):
        news.append("the account at the authority")
    return news
