"""The tasks of the server itself, which cron runs: `./inv renew`, `./inv care`."""

from invoke import Collection

from fabfile.server_tasks import care, renew

ns = Collection(renew, care)
