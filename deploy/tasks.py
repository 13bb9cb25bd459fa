"""The tasks of the server itself. `./inv renew` is what cron runs."""

from invoke import Collection

from fabfile.server_tasks import renew

ns = Collection(renew)
