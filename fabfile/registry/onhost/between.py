"""Who answers to the name of the registry, as the operator's machine sees it: a CDN may stand in front."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from typing import TypedDict

SECONDS = 5
# A header that only it sends, or what its `Server` says (what each documents of itself).
HEADERS = {
    "cf-ray": "Cloudflare", "x-amz-cf-id": "CloudFront", "x-served-by": "Fastly", "x-akamai-request-id": "Akamai",
    "x-azure-ref": "Azure Front Door", "x-sucuri-id": "Sucuri", "cdn-requestid": "Bunny", "via": "a proxy",
}  # fmt: skip
SERVERS = {"cloudflare": "Cloudflare", "akamaighost": "Akamai", "bunnycdn": "Bunny", "ddos-guard": "DDoS-Guard"}


class Between(TypedDict):
    """who: the one in between, '' for nobody that is known. said: by which header."""

    name: str
    who: str
    said: str


def between(name: str) -> Between:
    """Ask the name for its API, from the machine that this runs on. Changes nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Who answers is asked, not whether they may.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(name, timeout=SECONDS, context=context)
    try:
        connection.request("GET", "/v2/")
        who, said = judged(dict(connection.getresponse().getheaders()))
    except (OSError, http.client.HTTPException):
        who, said = "", ""
    finally:
        connection.close()
    return {"name": name, "who": who, "said": said}


def judged(headers: Mapping[str, str]) -> tuple[str, str]:
    """Who sent these headers, and the one that tells; '' for nobody that is known."""
    small = {key.lower(): value for key, value in headers.items()}
    for key, who in HEADERS.items():
        if key in small:
            return who, f"{key}: {small[key][:60]}"
    who = SERVERS.get(small.get("server", "").lower(), "")
    return who, f"server: {small['server']}" if who else ""
