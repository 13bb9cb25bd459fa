"""The tasks of the server itself, which cron runs: `renew`, `care`, `quota`, `page`, `metrics`, `backup` and others."""

import sys
from pathlib import Path

from invoke import Collection

# A distribution's own invoke has no python-dotenv: it is beside this file, behind whatever the system has.
sys.path.append(str(Path(__file__).resolve().parent / "lib.zip"))

from fabfile.server_tasks import accounts, backup, care, follow, metrics, notify, offer, page, quota, renew

ns = Collection(accounts, renew, care, quota, page, metrics, notify, backup, follow, offer)
