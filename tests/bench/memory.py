"""How much memory containers use, as one JSON number: the peak in MB until standard input ends.

Sent to a Python on the server as it stands, with the names of the containers. What counts is what is
resident: memory of the processes' own, what they share among themselves once, and the pages of the
programs and libraries that they have mapped, each file once. Not the cache of the disk, and not Pss of
the files: other contenders run the same programs, so their number would change it.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path

PAUSE = 0.5


def main(containers: list[str]) -> None:
    highest = 0
    form = ("docker", "inspect", "--format", "{{.State.Pid}}")
    first = subprocess.run([*form, *containers], capture_output=True, text=True, check=True)
    # A container is a PID namespace; this is sooner known than its cgroup.
    spaces = {Path(f"/proc/{pid}/ns/pid").readlink() for pid in first.stdout.split()}
    while True:
        highest = max(highest, used(spaces))
        if select.select([sys.stdin], [], [], PAUSE)[0]:
            break
    print(json.dumps(round(highest / 1024, 2)))


def used(spaces: set[Path]) -> int:
    """In kB, of all processes in these namespaces, now."""
    own, files = 0, dict[tuple[str, ...], int]()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/pid").readlink() not in spaces:
                continue
            own += own_memory((process / "smaps_rollup").read_text())
            for key, resident in mapped((process / "smaps").read_text()).items():
                files[key] = max(resident, files.get(key, 0))
        except OSError:
            continue  # it has ended meanwhile
    return own + sum(files.values())


def own_memory(rollup: str) -> int:
    """In kB: what is no file's, divided by those who share it (proc_pid_smaps_rollup(5))."""
    fields = (line.split() for line in rollup.splitlines())
    return sum(int(field[1]) for field in fields if field[0] in {"Pss_Anon:", "Pss_Shmem:"})


def mapped(smaps: str) -> dict[tuple[str, ...], int]:
    """In kB: the pages of each mapping of a file that are still the file's."""
    found: dict[tuple[str, ...], int] = {}
    key: tuple[str, ...] | None = None
    for line in smaps.splitlines():
        name, *values = line.split()
        if "-" in name and not name.endswith(":"):
            _, offset, _, inode, *path = values
            shared_memory = path and path[0].startswith(("/dev/zero", "/memfd:", "/SYSV"))
            # Not the device: each container has one of its own for the same files.
            key = None if inode == "0" or shared_memory else (inode, offset, *path)
        elif key and name == "Rss:":
            found[key] = found.get(key, 0) + int(values[0])
        elif key and name == "Anonymous:":
            found[key] -= int(values[0])
    return found


main(sys.argv[1:])
