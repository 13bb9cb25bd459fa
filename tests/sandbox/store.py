"""The sandbox's S3 store: a real Ceph, started only for those tests that ask for it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .commands import SandboxError, Say, output, succeeds
from .images import ensure_image
from .sandbox import Sandbox

KEY_ID = "SANDBOXKEYID"
# A name for each of those that have a DNS record of their own: images/store/store.
BUCKETS = ("images", "second")
START_SECONDS = 120


class Store:
    """The store of one sandbox: `http://store.test` and `https://store.test`, by path and by the bucket's name."""

    endpoint = "https://store.test"
    plain = "http://store.test"

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.key_file = sandbox.directory / "store-keys"
        self.ca_bundle = sandbox.directory / "store-ca.pem"
        self._log = 0

    @property
    def container(self) -> str:
        """Its name, for `docker stop` and the like."""
        return self.sandbox.container("store")

    @property
    def secret(self) -> str:
        """The secret half of the keys: made from the sandbox's own name, and nobody's."""
        return f"secret-of-{self.sandbox.project}"

    def up(self, say: Say) -> None:
        """Start it, with empty buckets the first time; write the operator's files. Twice is as good as once."""
        ensure_image("store", say)
        self.sandbox.compose("--profile", "store", "up", "--detach", "--quiet-pull", "--no-recreate", "store")
        self.wait()
        if not self.key_file.exists():
            create = ("user", "create", "--uid=registry", "--display-name=registry")
            self.exec("radosgw-admin", *create, f"--access-key={KEY_ID}", f"--secret-key={self.secret}")
            for bucket in BUCKETS:
                self.curl("PUT", f"/{bucket}")
            self.ca_bundle.write_text(self.exec("cat", "/store/ca.pem"))
            self.key_file.touch(mode=0o600)
            self.key_file.write_text(f"{KEY_ID}\n{self.secret}\n")

    def wait(self) -> None:
        """Until it answers."""
        end = time.monotonic() + START_SECONDS
        while not succeeds("docker", "exec", self.container, "healthy"):
            if time.monotonic() > end:
                raise SandboxError(f"The store is not ready after {START_SECONDS} seconds.")
            time.sleep(0.1)

    def stop(self) -> None:
        """Let nobody answer at its ports; what it has stays."""
        # By its command line: Ceph gives its processes other names.
        ended = "while pgrep -f '^radosgw' >/dev/null; do sleep 0.1; done"
        self.exec("sh", "-c", f"touch /run/stopping; pkill -f '^radosgw'; {ended}")

    def start(self) -> None:
        """Start what was stopped, and wait for it."""
        output("docker", "exec", "--detach", self.container, "radosgw", "-f", "-n", "client.rgw", timeout=60)
        self.wait()

    def settings(self, bucket: str = BUCKETS[0], **changes: str) -> dict[str, str]:
        """What `.env` says of it."""
        return {
            "STORAGE": "s3",
            "S3_ENDPOINT": self.endpoint,
            "S3_REGION": "us-east-1",
            "S3_BUCKET": bucket,
            "S3_KEY_FILE": str(self.key_file),
            "S3_CA_BUNDLE": str(self.ca_bundle),
        } | changes

    def exec(self, *argv: str, input: str | None = None) -> str:
        """Run a program in its container, with the time that a healthy one needs at most."""
        return output("docker", "exec", "-i", self.container, *argv, stdin=input, timeout=60)

    def curl(self, method: str, path: str, *options: str) -> str:
        """Ask the store past all of ours, signed with its keys. path: `/BUCKET/KEY?QUERY`."""
        signed = ("--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{KEY_ID}:{self.secret}")
        here = ("--connect-to", "::127.0.0.1:80")
        return self.exec("curl", "-fsS", *here, *signed, "-X", method, *options, f"{self.plain}{path}")

    def empty(self, bucket: str = BUCKETS[0]) -> None:
        """Remove all that is in a bucket, broken uploads too, and make it anew."""
        self.exec("radosgw-admin", "bucket", "rm", f"--bucket={bucket}", "--purge-objects", "--bypass-gc")
        self.curl("PUT", f"/{bucket}")

    def objects(self, bucket: str = BUCKETS[0]) -> list[str]:
        """The names of all objects in a bucket."""
        listed = json.loads(self.exec("radosgw-admin", "bucket", "list", f"--bucket={bucket}", "--max-entries=100000"))
        return sorted(entry["name"] for entry in listed if not entry["name"].startswith("_multipart_"))

    def asked(self) -> list[dict[str, Any]]:
        """What it was asked since this was called last: Ceph's own log, with `operation`, `uri`, `http_status`,
        `bytes_sent`, `bytes_received`.
        """
        text = self.exec("sh", "-c", f"tail -c +{self._log + 1} /store/ops.log 2>/dev/null || true")
        # It does not always end a line, and the last one may not be whole.
        decoder, at = json.JSONDecoder(), 0
        found: list[dict[str, Any]] = []
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            try:
                entry, at = decoder.raw_decode(text, at)
            except ValueError:
                break
            found.append(entry)
        self._log += len(text[:at].encode())
        return found


def main(sandbox: Sandbox, say: Say) -> Path:
    """For `python -m tests.sandbox store NAME`: start it, and where its settings are."""
    store = Store(sandbox)
    store.up(say)
    path = sandbox.directory / "store.env"
    path.write_text("".join(f"{key}={value}\n" for key, value in store.settings().items()))
    return path
