"""`python fabfile fab …` and `python fabfile inv …`, for the launchers: from any directory."""

import sys
from pathlib import Path

# Not this directory but the one above: its modules are `fabfile.…`. It comes last: what lies about there must
# never be taken for the standard library, as on a server it is root that runs this.
top = Path(__file__).resolve().parent.parent
sys.path[0:1] = []
sys.path += [str(top / "lib.zip"), str(top)]

from fabfile.command import main  # noqa: E402

main(sys.argv[1], sys.argv[2:])
