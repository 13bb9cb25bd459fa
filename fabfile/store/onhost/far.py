"""The store and its trash in a bucket: what trash.py does by a rename is a copy there, one more look, and a delete.

Killed between, what is taken is in both places: it counts as there, and its copy as one more that may be purged. What
somebody pushes in the moment between the look and the delete is found again: of layers and manifests by `settle`, as on
a disk; of tags by the log of uses, which has each push that was acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from ...layout import FLEET_CONF, IN_DATA, LIVE, TRASH
from ...machine.onhost.atomic import RefusedError
from . import uses
from .answers import Entry
from .bucket import Bucket
from .known import Known
from .manifests import DIGEST
from .objects import CURRENT
from .runs import begun

# A store that does not know conditions on a write.
UNKNOWN = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest"})
AWAY = frozenset({"NoSuchKey", "PreconditionFailed"})
MAIN = ("/link", "/data")
# An upload by parts that is older than that is broken off: no push takes so long. In seconds.
BROKEN = 8 * 86400.0


class Far:
    """Of one run. root: DEPLOY_DIR."""

    def __init__(self, root: Path, bucket: Bucket) -> None:
        self.root, self.bucket = root, bucket
        self.known = Known(root, bucket)

    def __enter__(self) -> Far:
        """Itself, with the lock of the tree."""
        self.known.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock away."""
        self.rest()
        self.bucket.close()

    def refresh(self, *paths: str) -> None:
        """Have the tree be as the bucket is: all of it, or these paths."""
        self.known.acquire()
        if paths:
            self.known.look(*paths)
        else:
            self.known.refresh()

    def rest(self) -> None:
        """Give the lock away until the next look."""
        self.known.release()

    def require_alone(self) -> None:
        """Raise RefusedError where other servers serve the same images: their logs of uses are not here."""
        if (self.root / LIVE / FLEET_CONF).is_file():
            raise RefusedError(
                "nothing was taken: several servers serve these images, and this one does not know what the others "
                "were asked just now",
                "with one server in HOSTS it can be done; tags can be deleted on the page, or by the registry's API",
            )

    def take(self, run: str, path: str) -> bool:
        """Move what is at a path to the trash. False where it is not what the tree says."""
        self.known.acquire()
        if "/_uploads/" in path and any(self.bucket.uploads(f"{IN_DATA}/{path}/")):
            # Somebody may be at it: nobody sees how far a part is. `end_broken` takes what is too old for that.
            return False
        found = self._at(f"{IN_DATA}/{path}")
        if not found:
            # Of what was deleted there are directories left, here alone.
            self.known.look(path)
            return True
        if any(self._newer(each) for each in found):
            self.known.look(path)
            return False
        made = [f"{TRASH}/{run}/{each.key[len(IN_DATA) + 1 :]}" for each in found]
        try:
            for each, target in zip(found, made, strict=True):
                self.bucket.copy(each.key, target, each)
            same = self._at(f"{IN_DATA}/{path}") == found
        except RefusedError as error:
            if error.reason not in AWAY:
                raise
            same = False
        if not same:
            self.bucket.delete_many(made)
            self.known.look(path)
            return False
        for each in found:
            if "/_uploads/" in each.key:
                continue
            # What leads to it goes first: without that the rest is nothing to anybody.
            self.bucket.delete(each.key)
        self.bucket.delete_many(each.key for each in found if "/_uploads/" in each.key)
        return True

    def put_back(self, run: str, path: str) -> bool:
        """Copy it back to where it was. False where something is there again, which is newer and stays."""
        self.known.acquire()
        source = f"{TRASH}/{run}/"
        found = self._at(source + path)
        local = self.known.top / source / path
        if not found:
            shutil.rmtree(local, ignore_errors=True)
            return False
        main = next((each for each in found if _main(each.key)), None)
        if main and not self._copy_back(main, f"{IN_DATA}/{main.key[len(source) :]}", local):
            return False
        for each in found:
            target = f"{IN_DATA}/{each.key[len(source) :]}"
            if each is not main and self.bucket.head(target) is None:
                self.bucket.copy(each.key, target, each)
        self.bucket.delete_many(each.key for each in found)
        shutil.rmtree(local, ignore_errors=True) if local.is_dir() else local.unlink(missing_ok=True)
        if path.startswith("blobs/"):
            # It may be a manifest; whoever put it back will read it.
            self.known.wanted.add(":".join(path.removesuffix("/data").split("/")[1::2]))
        self.known.look(path)
        return True

    def _copy_back(self, each: Entry, target: str, local: Path) -> bool:
        if not target.endswith("/link"):
            # A blob: whoever writes it writes the same.
            if self.bucket.head(target) is None:
                self.bucket.copy(each.key, target, each)
                return True
            return False
        content = self.bucket.get(each.key)
        if target.endswith(CURRENT):
            link = local if local.is_file() else local / CURRENT.strip("/")
            with contextlib.suppress(OSError):
                self.known.times.keep(target, each.etag, link.stat().st_mtime)
        return self.write_new(target, content)

    def write_new(self, key: str, content: bytes) -> bool:
        """Write a small object. False where there is one."""
        if self.bucket.head(key) is not None:
            return False
        try:
            self.bucket.put(key, content, {"if-none-match": "*"})
        except RefusedError as error:
            if error.reason in AWAY:
                return False
            if error.reason not in UNKNOWN:
                raise
            self.bucket.put(key, content)
        return True

    def touch(self, path: str, now: float) -> None:
        """Say of a tag that it was brought back now. All else is dated anew by being brought back."""
        key = f"{IN_DATA}/{path}{CURRENT}"
        self.known.times.back(key, now)

    def end_broken(self, now: float) -> int:
        """End uploads by parts that broke off: no listing shows them, and they are paid for. How many."""
        old = [each for each in self.bucket.uploads() if each.begun < now - BROKEN]
        ours = [each for each in old if each.key.startswith((f"{IN_DATA}/", f"{TRASH}/"))]
        for each in ours:
            self.bucket.abort(each.key, each.id)
        return len(ours)

    def purged(self, run: str) -> bool:
        """Remove what the bucket has of a run. Whether nothing is here of it, either."""
        self.known.acquire()
        self.bucket.delete_many([each.key for each in self.bucket.listed(f"{TRASH}/{run}/")])
        return not (self.known.top / TRASH / run).exists()

    def pushed_meanwhile(self) -> int:
        """Write the tags again that were pushed, by the log, while they were taken, and are not there. How many.

        Whoever pushes gets his answer when the link is written; where that came between the look and the delete,
        the delete took the new one.
        """
        taken: dict[tuple[str, str], float] = {}
        for run in sorted(name for name in os.listdir(self.known.top / TRASH) if begun(name)):  # noqa: PTH208
            top = self.known.top / TRASH / run / "repositories"
            for link in top.rglob("_manifests/tags/*/current/link"):
                tag = link.parent.parent
                taken[str(tag.parent.parent.parent.relative_to(top)), tag.name] = begun(run)
        count = 0
        for (name, tag_), digest in self._pushed(taken).items():
            path, content = f"repositories/{name}/_manifests/tags/{tag_}", digest.encode()
            where = digest.replace(":", "/")
            there = self.bucket.head(f"{IN_DATA}/repositories/{name}/_manifests/revisions/{where}/link")
            if there and self.write_new(f"{IN_DATA}/{path}{CURRENT}", content):
                self.write_new(f"{IN_DATA}/{path}/index/{where}/link", content)
                self.known.look(path)
                count += 1
        return count

    def _pushed(self, taken: dict[tuple[str, str], float]) -> dict[tuple[str, str], str]:
        """What was pushed last to these tags since then, where it was not deleted since."""
        pushed: dict[tuple[str, str], str] = {}
        for when, method, name, said, digest in uses.changes(str(self.root), min(taken.values())) if taken else ():
            if method == "PUT" and when >= taken.get((name, said), float("inf")) and DIGEST.match(digest):
                pushed[name, said] = digest
            elif method == "DELETE":
                pushed = {key: each for key, each in pushed.items() if key[0] != name or said not in (each, key[1])}
        return pushed

    def _at(self, key: str) -> list[Entry]:
        """What is at a key, or below it; what leads to the rest first."""
        if key.endswith(MAIN):
            return [each for each in self.bucket.page(key, limit=1).entries if each.key == key]
        return sorted(self.bucket.listed(f"{key}/"), key=lambda each: not _main(each.key))

    def _newer(self, each: Entry) -> bool:
        """Whether it is another one than the tree has. What the tree has nothing of counts by what leads there."""
        seen = self.known.index.get(each.key)
        return bool(_main(each.key)) and (seen is None or (seen.etag, seen.when) != (each.etag, each.when))


def _main(key: str) -> bool:
    """Whether it is what makes a directory mean something."""
    if "/_manifests/tags/" in key:
        return key.endswith(CURRENT)
    return "/signatures/" not in key and "/_uploads/" not in key and key.endswith(MAIN)
