"""What can be wrong with the images, as people tell it."""

from __future__ import annotations

from collections.abc import Sequence

from ..layout import DATA, IN_DATA, RETENTION
from ..machine.onhost import disk, owner
from ..machine.symptom import Rows, Symptom, Wrong, row
from ..text import counted
from .onhost.health import Health, Lost
from .words import size

# So many are named.
NAMED = 5
# `push-test` leaves one.
OURS = "push-test"
RESTORE = "./fab -H … restore --from COPIES --only REPOSITORY:TAG"

BY_ROW: tuple[Symptom[Rows], ...] = (
    Symptom(
        "pushes-refused",
        "`denied: the quota of … is reached`, or pushes are refused while pulls work",
        f"a section of {RETENTION} takes up what it may, or cron does not look any more whether there is room",
        "./fab -H … images shows what takes it up; ./fab -H … gc",
        row("pushes"),
    ),
    Symptom(
        "care",
        "images that should be gone are there, and the disk fills up",
        "what the server does each night failed, or did not run",
        "./fab -H … gc; ./fab -H … retention",
        row("care"),
    ),
)


def _listed(texts: Sequence[str]) -> str:
    return "; ".join(texts[:NAMED]) + (f"; and {len(texts) - NAMED} more" if len(texts) > NAMED else "")


def lost(found: Sequence[Lost], what: str) -> str:
    """What is wrong with these, and which images need them."""
    images = sorted({image for each in found for image in each["images"]})
    parts = [f"{each['digest']} ({each['what']})" for each in found]
    return f"{counted(len(found), what)} of {_listed(images) or 'no image'}: {_listed(parts)}"


def _torn(facts: Health) -> Wrong | None:
    return Wrong(_listed(facts["torn"])) if facts["torn"] else None


def _layers(facts: Health) -> Wrong | None:
    return Wrong(lost(facts["lost"], "layer")) if facts["lost"] else None


def _children(facts: Health) -> Wrong | None:
    return Wrong(lost(facts["children"], "part")) if facts["children"] else None


def _owners(facts: Health) -> Wrong | None:
    if not facts["owners"]:
        return None
    if any(text.startswith(".: ") for text in facts["owners"]):
        return Wrong(f"the registry cannot use {_listed(facts['owners'])}", "./fab -H … up")
    chown = f"chown -hR {owner.REGISTRY}:{owner.NGINX} {facts['place']}; chmod -R u+rwX,g+rX {facts['place']}"
    return Wrong(f"the registry cannot use {_listed(facts['owners'])}", f"on the server: {chown}")


def _odd(facts: Health) -> Wrong | None:
    return Wrong(_listed(facts["odd"])) if facts["odd"] else None


def _emptied(facts: Health) -> Wrong | None:
    names = [name for name in facts["emptied"] if name != OURS]
    return Wrong(f"{counted(len(names), 'repository')} without a tag: {_listed(names)}") if names else None


def _inodes(facts: Health) -> Wrong | None:
    space = facts["space"]
    few = disk.few_inodes(space["inodes"], space["all_inodes"])
    return Wrong(f"there is room for {few}, and {facts['links']} are links of images") if few else None


def _eaters(facts: Health) -> Wrong | None:
    if not (found := facts["eaters"]):
        return None
    gc, docker = found["waiting"] + found["unused"] + found["uploads"], found["docker"]
    if gc + docker < facts["space"]["total"] // 100:
        return None
    words = {"in the trash": found["waiting"], "of layers that no image needs": found["unused"],
             "of uploads that were not ended": found["uploads"], "that Docker can do without": docker}  # fmt: skip
    parts = ", ".join(f"{size(count)} {what}" for what, count in words.items() if count)
    ways = ["./fab -H … gc --now"] * (gc > 0) + ["on the server: docker system prune"] * (docker > 0)
    return Wrong(f"{size(facts['space']['free'])} are free, and there are {parts}", "; ".join(ways))


def _misfits(facts: Health) -> Wrong | None:
    texts = [
        f"{each['image']} is for {', '.join(each['has'])}, and was pulled {counted(each['times'], 'time')} "
        f"to {each['wants']}"
        for each in facts["misfits"]
    ]
    return Wrong(_listed(texts)) if texts else None


SYMPTOMS: tuple[Symptom[Health], ...] = (
    Symptom(
        "missing-layer",
        "a pull says `retrying` on some layers, for ever, or `unexpected EOF`",
        "a layer of the image is not in the store any more, or not all of it",
        f"push that image again; or, from a copy: {RESTORE}",
        _layers,
    ),
    Symptom(
        "missing-part",
        "`manifest unknown`, or `no matching manifest`, for one platform only",
        "a part of a multi-platform image was deleted alone, as old collectors do with what has no tag",
        f"push all platforms again; or, from a copy: {RESTORE}",
        _children,
    ),
    Symptom(
        "wrong-platform",
        "`exec format error`, or `no matching manifest for linux/arm64 in the manifest list entries`",
        "the image was built for another processor than that of the machine that pulled it",
        "where it is built: docker buildx build --platform linux/amd64,linux/arm64 --push …",
        _misfits,
    ),
    Symptom(
        "torn-link",
        "`invalid checksum digest format`, `manifest unknown`; `gc` leaves a repository as it is",
        "a link or a manifest is empty or damaged, as after a power cut with version 2 of the registry",
        f"push that image again; or, from a copy: {RESTORE}",
        _torn,
    ),
    Symptom(
        "wrong-owner",
        "`500 Internal Server Error`, `permission denied` in the logs, after a copy was brought back by hand",
        "files of the images belong to somebody else than the registry",
        f"on the server: chown -hR {owner.REGISTRY}:{owner.NGINX} DEPLOY_DIR/{DATA}/{IN_DATA}",
        _owners,
    ),
    Symptom(
        "odd-file",
        "`gc`, `images` and `backup` refuse: not all of the store can be read",
        "a link, or something that is no file, lies among the images",
        f"look at it on the server, below {DATA}, and move it away",
        _odd,
    ),
    Symptom(
        "emptied-repository",
        "a repository is listed, and has no tags",
        "all its images were deleted, and nothing has cleaned up since",
        "./fab -H … gc",
        _emptied,
    ),
    Symptom(
        "no-inodes",
        "`no space left on device`, though the disk is half empty",
        "the disk has no inodes left: each tag, layer and manifest of a repository is a small file",
        "./fab -H … gc --now; on the server: df -i",
        _inodes,
    ),
    Symptom(
        "still-full",
        "images were deleted, and the disk is as full as before",
        "what is deleted waits in the trash for a day; or something else takes the room, as Docker's own images",
        "./fab -H … gc --now; on the server: docker system prune",
        _eaters,
    ),
)
