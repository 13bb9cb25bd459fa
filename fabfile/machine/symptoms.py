"""What can be wrong with the server itself, as people tell it."""

from __future__ import annotations

from .onhost.mount import Mount
from .symptom import Rows, Symptom, Wrong, row

# Where what was written is not there for all at once, or where a lock is a wish.
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.glusterfs")

BY_ROW: tuple[Symptom[Rows], ...] = (
    Symptom(
        "docker-down",
        "`Cannot connect to the Docker daemon`; nothing answers",
        "Docker, Compose or Python is missing, stopped, too old, or of another kind",
        "./fab -H … provision",
        row("docker", "compose", "python"),
    ),
    Symptom(
        "clock",
        "`x509: certificate has expired or is not yet valid`, though it is; a renewal is refused",
        "the clock of the server is wrong, or that of your own machine",
        "on the server: timedatectl set-ntp true",
        row("clock"),
    ),
    Symptom(
        "others-can-write",
        "`sync` and `up` refuse: `somebody else than root can change …`",
        "`DEPLOY_DIR`, or a directory above it, belongs to another user",
        "on the server: chown root: DIRECTORY && chmod go-w DIRECTORY",
        row("directory", "above"),
    ),
    Symptom(
        "disk-away",
        "all images are gone after a reboot: `manifest unknown`, or `502`",
        "the disk of the images is not mounted",
        "on the server: mount -a; then: ./fab -H … up",
        row("images"),
    ),
    Symptom(
        "port-taken",
        "`address already in use`; another web site answers",
        "another web server has port 80 or 443",
        "on the server: systemctl disable --now NAME",
        row("port 80", "port 443"),
    ),
    Symptom(
        "dns",
        "`no such host`, or another server answers",
        "the name has no address, or that of another server, or of a CDN in between",
        "correct the record at your DNS provider, then ./fab -H … check",
        row("DNS *", "A *"),
    ),
    Symptom(
        "stale-ipv6",
        "it works from some networks, and hangs from others",
        "an old AAAA record, which is tried first, leads elsewhere",
        "correct or delete the record at your DNS provider, then ./fab -H … check",
        row("AAAA *"),
    ),
    Symptom(
        "closed-outside",
        "`context deadline exceeded`, `i/o timeout`, though it works on the server itself",
        "a firewall of the provider, or of the server, keeps the port closed",
        "open ports 80 and 443 there, then ./fab -H … check",
        row("port 80 from here", "port 443 from here"),
    ),
    Symptom(
        "disk-nearly-full",
        "`no space left on device`, `500 Internal Server Error`, or `denied: the registry's disk is nearly full`",
        "the disk has little room, or few inodes, left",
        "./fab -H … gc --now",
        row("disk", "images' disk"),
    ),
)


def _network(facts: Mount) -> Wrong | None:
    if facts["kind"] not in NETWORK:
        return None
    return Wrong(f"the images are on {facts['kind']}, mounted at {facts['place']}")


def _read_only(facts: Mount) -> Wrong | None:
    if not facts["read_only"]:
        return None
    return Wrong(f"{facts['place']} ({facts['kind']}) is mounted read-only: the kernel does that when a disk fails",
                 f"on the server: dmesg && mount -o remount,rw {facts['place']}")  # fmt: skip


SYMPTOMS: tuple[Symptom[Mount], ...] = (
    Symptom(
        "network-disk",
        "pushes are slow, or end with odd errors: `blob upload unknown`, `unknown blob`",
        "the images are on a network file system, whose answers come late or out of order",
        "move them to a disk of the server's own: docs/care.md, A disk of their own for the images",
        _network,
    ),
    Symptom(
        "read-only-disk",
        "every push ends with `500 Internal Server Error`, and pulls work",
        "the disk of the images is mounted read-only",
        "on the server: dmesg && mount -o remount,rw PLACE",
        _read_only,
    ),
)
