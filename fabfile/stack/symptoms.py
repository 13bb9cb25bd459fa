"""What can be wrong with the containers, as people tell it."""

from __future__ import annotations

from collections.abc import Callable

from ..layout import DATA, PROJECT, USES, Service
from ..machine.symptom import Rows, Symptom, Wrong, row
from ..text import counted
from . import news
from .onhost.health import Health
from .onhost.traffic import Traffic

MB = 1e6
# Of what is sent, so much is sent again on a good line; and below so many segments nobody knows.
AGAIN, ENOUGH = 0.02, 1000
# A container may be a moment late once (containers.py); a queue may be full for a moment.
RESTARTS, OVERFLOWS = 3, 1000
# Written down is one of fifty.
CROWDED, SAMPLED = 3, 50
RESTART = "on the server: systemctl restart docker"

BY_ROW: tuple[Symptom[Rows], ...] = (
    Symptom(
        "container-down",
        "`connection refused`, `502`, `503`; `docker login` fails for everybody",
        "a container of the registry does not run, or does not answer",
        "./fab -H … up; ./fab -H … logs shows why it ended",
        row(*Service.SERVING),
    ),
    Symptom(
        "image-held",
        "a new version was deployed, and the old one still runs",
        "the new image could not serve, so `upgrade` went back by itself",
        "./fab -H … upgrade",
        row("images held"),
    ),
    Symptom(
        "no-accounts",
        "`401 Unauthorized` for somebody whose password is right",
        "the accounts file is damaged or empty, or has a hash that the registry does not know",
        "./fab -H … htpasswd --list",
        row("accounts"),
    ),
)


def _other_secret(facts: Health) -> Wrong | None:
    if not facts["other_secret"]:
        return None
    return Wrong(f"{', '.join(facts['other_secret'])} runs with another http.secret than the one on disk: an upload "
                 "that is begun now cannot be ended after the next start")  # fmt: skip


def _strangers(facts: Health) -> Wrong | None:
    if not (names := facts["strangers"]):
        return None
    return Wrong(f"the images are mounted by {', '.join(names)}, too", f"on the server: docker stop {' '.join(names)}")


def _killed(facts: Health) -> Wrong | None:
    found = [
        f"{each['service']}: {counted(each['killed'], 'time')} something was killed at its limit of "
        f"{each['limit'] / MB:.0f} MB"
        for each in facts["troubles"]
        if each["killed"]
    ]
    return Wrong("; ".join(found)) if found else None


def _restarts(facts: Health) -> Wrong | None:
    often = [each for each in facts["troubles"] if each["restarts"] >= RESTARTS and not each["killed"]]
    return Wrong("; ".join(f"{each['service']}: ended {each['restarts']} times" for each in often)) if often else None


def _holes(facts: Health) -> Wrong | None:
    known, found = news.releases(), []
    for service, version in facts["versions"].items():
        if fixes := news.missing(known, service, version):
            numbers = ".".join(map(str, version))
            holes = counted(sum(map(len, fixes.values())), "known hole")
            found.append(f"{service} {numbers}: {holes}, closed by {list(fixes)[-1]}")
    return Wrong(f"{'; '.join(found)} (as of {known['as of']})") if found else None


def _of(look: Callable[[Traffic], Wrong | None]) -> Callable[[Health], Wrong | None]:
    return lambda facts: look(facts["traffic"]) if facts["traffic"] else None


def _rules(facts: Traffic) -> Wrong | None:
    return Wrong(f"of Docker's firewall rules {', '.join(facts['rules'])}") if facts["rules"] else None


def _mtu(facts: Traffic) -> Wrong | None:
    lost = facts["sent"] > ENOUGH and facts["again"] > AGAIN * facts["sent"]
    if not (lost and facts["bridge"] > facts["uplink"] > 0):
        return None
    share = 100 * facts["again"] / facts["sent"]
    return Wrong(f"packets of containers have up to {facts['bridge']} bytes, the server's line takes "
                 f"{facts['uplink']}, and {share:.0f} % are sent again",
                 f'on the server: put {{"mtu": {facts["uplink"]}, "default-network-opts": {{"bridge": '
                 f'{{"com.docker.network.driver.mtu": "{facts["uplink"]}"}}}}}} into /etc/docker/daemon.json; '
                 "systemctl restart docker; then ./fab -H … down up")  # fmt: skip


def _tracked(facts: Traffic) -> Wrong | None:
    if not facts["most"] or facts["tracked"] < 0.9 * facts["most"]:
        return None
    return Wrong(f"the firewall follows {facts['tracked']} connections, and can follow {facts['most']}",
                 f"on the server: sysctl -w net.netfilter.nf_conntrack_max={2 * facts['most']}")  # fmt: skip


def _overflows(facts: Traffic) -> Wrong | None:
    found = [f"{facts['overflows']} new connections were lost since nginx started"] * (facts["overflows"] > OVERFLOWS)
    found += [
        f"nginx had no {what} left {facts['kinds'][kind]} times in ten minutes"
        for kind, what in (("connections", "connections"), ("files", "files"))
        if kind in facts["kinds"]
    ]
    return Wrong("; ".join(found)) if found else None


def _log(kind: str, what: str) -> Callable[[Traffic], Wrong | None]:
    def look(facts: Traffic) -> Wrong | None:
        count = facts["kinds"].get(kind, 0)
        return Wrong(f"nginx says {what} {count} times in ten minutes") if count else None

    return look


def _gateway(facts: Traffic) -> Wrong | None:
    found = {address: lines for address, lines in facts["crowded"].items() if address in facts["gateways"]}
    return _crowd(found, "which is no client's own address")


def _client(facts: Traffic) -> Wrong | None:
    return _crowd({key: lines for key, lines in facts["crowded"].items() if key not in facts["gateways"]}, "")


def _crowd(found: dict[str, int], what: str) -> Wrong | None:
    address, lines = max(found.items(), key=lambda each: each[1], default=("", 0))
    words = f", {what}," if what else ""
    return Wrong(f"{address}{words} got 429 about {lines * SAMPLED} times in ten minutes") if lines >= CROWDED else None


SYMPTOMS: tuple[Symptom[Health], ...] = (
    Symptom(
        "out-of-memory",
        "a large push or pull is slow, then `502`, `503` or `unexpected EOF`",
        "a process of a container was killed, as it needed more memory than it may have",
        "more memory for the server; what is shared out follows at ./fab -H … sync up",
        _killed,
    ),
    Symptom(
        "restarts",
        "it works, and then for some seconds it does not: `502`, `503`",
        "a container ends by itself again and again, and Docker starts it anew",
        "./fab -H … logs shows why",
        _restarts,
    ),
    Symptom(
        "rules-flushed",
        "port 443 is dead after a change of the firewall; or all clients have one address; or renewals find no way out",
        "something flushed Docker's rules: `iptables -F`, a reload of ufw or nftables",
        RESTART,
        _of(_rules),
    ),
    Symptom(
        "mtu",
        "pulls hang, `TLS handshake timeout`, though small answers come",
        "the packets of Docker's bridge are larger than the server's line takes, and nobody tells it",
        f"the line's MTU into /etc/docker/daemon.json, as the finding says; then: {RESTART}",
        _of(_mtu),
    ),
    Symptom(
        "connections-full",
        "connections are reset or time out while many pull at once",
        "the kernel's table of connections is full (`nf_conntrack: table full`)",
        "on the server: sysctl -w net.netfilter.nf_conntrack_max=NUMBER",
        _of(_tracked),
    ),
    Symptom(
        "too-few-connections",
        "`connection reset by peer` while many pull at once",
        "more clients come than nginx has connections for",
        "fewer at once, or more memory for the server, then ./fab -H … sync up",
        _of(_overflows),
    ),
    Symptom(
        "one-address",
        "everybody gets `429 Too Many Requests`, or the log has one address for all",
        "clients come through Docker's own proxy, as over IPv6 or after its rules were flushed, and share one limit",
        RESTART,
        _of(_gateway),
    ),
    Symptom(
        "too-many-requests",
        "`429 Too Many Requests`, `too many requests at once`, `too many logins at once`",
        "one address has more under way than its share, or a forgotten job tries a wrong password again and again",
        "fewer at once there, or correct its password; ./fab -H … logs shows what it asks for; "
        "docs/security.md, How much at once",
        _of(_client),
    ),
    Symptom(
        "nginx-no-room",
        "`500 Internal Server Error`, though the images' disk has room",
        f"nginx has no room for what it writes: its memory, or the disk of `{USES}`",
        "on the server: df -h && df -i",
        _of(_log("room", "`No space left on device`")),
    ),
    Symptom(
        "nginx-not-permitted",
        "`403` or `500` on layers, though the account may pull",
        "nginx may not read a file of the images",
        f"on the server: chmod -R g+rX DEPLOY_DIR/{DATA}",
        _of(_log("permission", "`Permission denied`")),
    ),
    Symptom(
        "other-secret",
        "a push ends with `blob upload invalid` or `blob upload unknown`, at its very end",
        "`http.secret` was changed, and the registry that runs has the old one",
        f"on the server: docker restart {PROJECT}-{Service.REGISTRY}-1",
        _other_secret,
    ),
    Symptom(
        "second-registry",
        "`blob upload unknown`, or images that come and go",
        "another registry works on the same images, with another `http.secret` and rules of its own",
        "on the server: docker stop NAME",
        _strangers,
    ),
    Symptom(
        "known-holes",
        "a scanner, or a newsletter, names a hole of nginx or of the registry",
        "the image is older than the version that closed it; a distribution may have closed it in its own packages",
        "./fab -H … upgrade; ./fab -H … upgrade --check names the holes",
        _holes,
    ),
)
