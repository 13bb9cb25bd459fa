"""`python fabfile fab …` and `python fabfile inv …`, for the launchers: from any directory."""

import sys
from pathlib import Path

# Not this directory but the one above: its modules are `fabfile.…`.
top = Path(__file__).resolve().parent.parent
if (top / "lib.zip").is_file():
    # On a server it is root that runs this: what lies about there must never be taken for the standard library.
    sys.path[:1] = []
    sys.path += [str(top / "lib.zip"), str(top)]
else:
    sys.path[0] = str(top)

from fabfile.command import main  # noqa: E402

main(sys.argv[1], sys.argv[2:])
