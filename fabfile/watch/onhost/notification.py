"""An event as the registry itself would tell it (distribution, notifications/event.go), so that receivers made for that
understand ours: one envelope with one event. Pure.

The registry's own know no account, as nginx keeps the password from it, and need a network.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, TypedDict

from ...machine.onhost.audit import Line, seconds
from .happened import Use


class Content(TypedDict):
    """Of a manifest in the store. size: bytes, 0 where it is not there any more."""

    media_type: str
    size: int


def pushed(use: Use, domain: str, content: Content) -> dict[str, Any]:
    """A push or a delete through the registry."""
    target: dict[str, Any] = {"digest": use.digest, "repository": use.repository}
    if use.action == "push":
        target["url"] = f"https://{domain}/v2/{use.repository}/manifests/{use.digest}"
        if content["size"]:
            size = content["size"]
            target = {"mediaType": content["media_type"], "size": size, "length": size, **target}
    if use.tag:
        target["tag"] = use.tag
    method = {"push": "PUT", "delete": "DELETE"}[use.action]
    request = {"addr": use.address, "host": domain, "method": method, "useragent": use.client}
    return _event(use.request, use.when, use.action, target, request, use.account, domain)


def deleted(line: Line, domain: str) -> dict[str, Any] | None:
    """A delete by the task `images`; None for any other line of the audit log."""
    words = line["task"].split(" ")
    if words[:2] != ["images", "--delete"] or len(words) != 3 or line["outcome"] != "ok":
        return None
    repository, mark, digest = words[2].partition("@")
    target = {"repository": repository, "digest": digest}
    if not mark:
        repository, _, tag = words[2].rpartition(":")
        target = {"repository": repository, "tag": tag}
    request = {"addr": "", "host": domain, "method": "", "useragent": "images --delete"}
    return _event("", seconds(line["when"]), "delete", target, request, line["who"], domain)


def envelope(event: dict[str, Any]) -> str:
    """What goes to a receiver: one line."""
    return json.dumps({"events": [event]}, separators=(",", ":"))


def _event(  # noqa: PLR0913, PLR0917 - an event is that much
    request_id: str, when: float, action: str, target: dict[str, Any], request: dict[str, str], who: str, domain: str
) -> dict[str, Any]:
    """The same line gives the same event, its id too: a receiver can know one that comes again."""
    digest = hashlib.sha256(f"{when} {action} {sorted(target.items())} {who}".encode()).hexdigest()
    number = request_id if len(request_id) == 32 else digest[:32]
    parts = (number[:8], number[8:12], number[12:16], number[16:20], number[20:])
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when))
    return {
        "id": "-".join(parts), "timestamp": f"{stamp}.{int(when % 1 * 1000):03}Z", "action": action, "target": target,
        "request": {"id": number, **request}, "actor": {"name": who},
        "source": {"addr": domain, "instanceID": domain},
    }  # fmt: skip
