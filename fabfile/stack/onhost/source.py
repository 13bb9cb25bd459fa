"""What an image registry has behind a name now, asked from the host over HTTPS, without any login.

Docker's token protocol (distribution.github.io/distribution/spec/auth/token), anonymous.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request

from ...machine.onhost.atomic import RefusedError

SECONDS = 10
HUB = "registry-1.docker.io"
# Images, and indexes of them, in the two forms that there are today.
ACCEPT = ", ".join((
    "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
))  # fmt: skip
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def newest(names: list[str]) -> dict[str, str]:
    """Name -> the digest behind it; where there is no answer, why, in a line that is no digest. Changes nothing."""
    return {name: _digest(name) for name in names}


def place(name: str) -> tuple[str, str, str]:
    """Host, repository and tag of an image's name, as docker reads it."""
    name = name.partition("@")[0]
    host, slash, rest = name.partition("/")
    if not slash or not (set(host) & {".", ":"} or host == "localhost"):
        host, rest = HUB, name if slash else f"library/{name}"
    elif host in ("docker.io", "index.docker.io"):
        host, rest = HUB, rest if "/" in rest else f"library/{rest}"
    head, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    return host, head + slash + last, tag or "latest"


def _digest(name: str) -> str:
    host, repository, tag = place(name)
    # As docker does: nothing but the machine itself is asked without TLS.
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    url = f"{scheme}://{host}/v2/{repository}/manifests/{tag}"
    try:
        try:
            return _asked(url, "")
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            return _asked(url, _token(error.headers.get("WWW-Authenticate", "")))
    except urllib.error.HTTPError as error:
        return f"{host} answers {error.code}"
    except (OSError, ValueError, LookupError, RefusedError) as error:
        return f"{host} does not answer: {getattr(error, 'reason', error)}"


def _asked(url: str, token: str) -> str:
    headers = {"Accept": ACCEPT, **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, method="HEAD", headers=headers)  # noqa: S310 - a name that settings.py checked
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
        digest = str(answer.headers.get("Docker-Content-Digest", ""))
    if not DIGEST.fullmatch(digest):
        raise ValueError("it names no digest")
    return digest


def _token(challenge: str) -> str:
    found = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer ") or not found.get("realm", "").startswith("https://"):
        raise ValueError("it wants a login")
    query = urllib.parse.urlencode({key: found[key] for key in ("service", "scope") if key in found})
    with urllib.request.urlopen(f"{found['realm']}?{query}", timeout=SECONDS) as answer:  # noqa: S310
        said = json.loads(answer.read(1 << 16))
    return str(said.get("token") or said["access_token"])
