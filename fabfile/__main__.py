"""`python fabfile fab …` and `python fabfile inv …`, for the launchers: from any directory."""

import sys
from pathlib import Path

# Not this directory but the one above: its modules are `fabfile.…`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from fabfile.command import main  # noqa: E402

main(sys.argv[1], sys.argv[2:])
