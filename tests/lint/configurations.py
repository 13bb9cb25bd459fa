"""`nginx -t` over every combination of the settings that change nginx's configuration, where there is an nginx."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from fabfile.errors import StepError
from fabfile.settings import load
from fabfile.stack.capacity import derived
from tests import nginx

S3 = "STORAGE=s3\nS3_BUCKET=images\nS3_KEY_FILE=keys\n"
# What changes nginx's configuration, and how.
CHOICES: dict[str, dict[str, str]] = {
    "anonymous pull": {"off": "", "all": "ANONYMOUS_PULL=*", "some": "ANONYMOUS_PULL=public/* base*x 1.5"},
    "metrics": {"off": "", "on": "METRICS=on"},
    "names": {
        "one": "",
        "aliases": "REGISTRY_ALIASES=a.example.org b.example.net",
        "wildcard": "REGISTRY_ALIASES=*.example.org\nACME_CHALLENGE=dns-01",
        "long": f"REGISTRY_ALIASES={'.'.join(['x' * 63] * 3)}.{'x' * 61}",
    },
    "page": {"on": "", "admin": "PAGE=admin", "off": "PAGE=off"},
    "storage": {
        "disk": "",
        "s3": f"{S3}S3_ENDPOINT=https://s3.example.net\nS3_PREFIX=one/two",
        "s3 by host": f"{S3}S3_ENDPOINT=http://store.internal:7480\nS3_ADDRESSING=host\nBLOBS=redirect\nBLOB_CACHE=1t",
        "s3 of several servers": f"{S3}S3_ENDPOINT=https://s3.example.net\nHOSTS=a b",
        "s3 of a private authority": f"{S3}S3_ENDPOINT=https://10.0.0.1\nS3_CA_BUNDLE=fullchain.pem",
    },
    "HSTS": {
        "off": "",
        "on": "HSTS_MAX_AGE=63072000\nCLIENT_PAUSE=60\nLOAD_BALANCER=proxy 10.0.0.0/24 fd00::7",
        "behind": "LOAD_BALANCER=10.0.0.7",
    },
    "certificate": {"none": "", "ordered": "", "own": "TLS_CERTIFICATE=fullchain.pem\nTLS_KEY=privkey.pem"},
}
SIZES = {"small": {"cores": 1, "memory": 1 << 29}, "large": {"cores": 64, "memory": 1 << 38}}
# Of deploy/retention.ini, as `sync` gives them to the templates.
SECTIONS = (("team-a/free*", ""), ("team-a/*", "0123456789abcdef"), (f"{'r' * 250}.*", "fedcba9876543210"), ("*", "0"))
HASH = "$2y$12$" + "a" * 53
ACCOUNTS = f"""old:{HASH}
# boss role=admin repositories= changed=2026
boss:{HASH}
# ci@team.example role=push repositories=team-a/*,base,*x*,{"r" * 250}/* changed=2026
ci@team.example:{HASH}
# reader role=pull repositories=** changed=2026
reader:{HASH}
by hand";{{:{HASH}
"""


def check() -> None:
    """Raises StepError when nginx does not take one of them."""
    if not nginx.where():
        print("there is no nginx (apt-get install nginx; ./inv demo makes an image): its configuration was left out")
        return
    with nginx.place() as directory:
        made = list(_made(directory))
        refused = nginx.refused(directory)
        for name, told in refused.items():
            print(f"with {made[int(name)]}:\n  {told.replace(f'{directory}/{name}/', 'nginx/')}")
    if refused:
        raise StepError(
            f"nginx refuses {len(refused)} of {len(made)} configurations", "the first lines say which and why"
        )
    print(f"nginx -t: {len(made)} combinations of settings")


def _made(directory: Path) -> Iterator[str]:
    """Write each combination into a directory of its number; what it is."""
    certificate, key = nginx.pair()
    for name, text in {"fullchain.pem": certificate, "privkey.pem": key, "some": ACCOUNTS, "none": ""}.items():
        (directory / name).write_text(text)
    keys = directory / "keys"
    keys.touch(0o600)
    keys.write_text("id\nsecret\n")
    every = itertools.product(*(options.items() for options in CHOICES.values()))
    for number, chosen in enumerate(filter(_telling, every)):
        env = directory / ".env"
        env.write_text(nginx.MANDATORY + "\n".join(line for _, line in chosen))
        size = ("small", "large")[number % 2]
        target = directory / str(number)
        accounts = directory / ("none" if number == 0 else "some")
        sections = SECTIONS if number % 3 else ()
        nginx.write(target, load(env), accounts, capacity=derived(SIZES[size]), sections=sections)
        words = dict(zip(CHOICES, (word for word, _ in chosen), strict=True))
        if words["certificate"] == "none":
            (target / "https.conf").unlink()
        yield ", ".join(f"{key} {word}" for key, word in (words | {"server": size}).items())


def _telling(chosen: tuple[tuple[str, str], ...]) -> bool:
    """What a store or a load balancer brings has nothing to do with names, nor with where the certificate is from."""
    words = dict(zip(CHOICES, (word for word, _ in chosen), strict=True))
    alone = words["storage"] == "disk" and words["HSTS"] != "behind"
    return alone or (words["names"], words["certificate"]) == ("one", "ordered")
