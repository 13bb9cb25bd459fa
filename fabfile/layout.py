"""What both sides of the house and the templates know alike: names, versions, and the tree of DEPLOY_DIR.

Below `onhost/` too, so it imports nothing. Paths are relative to DEPLOY_DIR.
"""

from __future__ import annotations

# Not `docker-registry`: the old scripts' project has that name, after its directory.
PROJECT = "private-docker-registry"
CERTBOT_CONTAINER = f"{PROJECT}-certbot"
# In /run: a reboot clears it, and only root can write there.
LOCK = f"/run/{PROJECT}.lock"
# Whoever makes a copy, or brings one back, has this one: that takes hours, and nobody else shall wait for it.
COPY_LOCK = f"/run/{PROJECT}.copy.lock"
# Cron passes over a file whose name has a dot, without a word (cron(8)).
CRON_FILE = f"/etc/cron.d/{PROJECT}"
# What must be there when the disk of DEPLOY_DIR is not: see machine/onhost/outside.py.
OUTSIDE = f"/etc/{PROJECT}"
# What cron runs then, and where it remembers whom it told: in /run, as after a reboot it is news again.
AWAY_FILE = f"{OUTSIDE}/away"
AWAY_TOLD = f"/run/{PROJECT}.away"


class Service:
    """The services of compose.yml."""

    REGISTRY = "registry"
    AUTH = "auth"
    NGINX = "nginx"
    CERTBOT = "certbot"
    # What `up` starts. certbot is run when there is something to order.
    SERVING = (REGISTRY, AUTH, NGINX)


# Major and minor.
MIN_DOCKER = (20, 10)
MIN_COMPOSE = (2, 17)  # of March 2023; the oldest that was tried is 2.26
MIN_PYTHON = (3, 10)

# What `sync` makes for `inv renew`, and for itself. Not `.env`: Compose would read that by itself and give `$` and
# `#` a meaning of its own.
COMPOSE_FILE = "compose.yml"
SETTINGS_FILE = "settings.env"
SCHEMA = ".env.dist"
LIBRARIES = "lib.zip"
# Which version of this tool deployed the server. Older tools look for it there, so it stays there for ever.
RECORD = "version"
SYNC = ".sync"
# Archives on their way, of `ship`.
IMAGES = ".images"
# Of `adopt`: what was found, and how it comes back.
ADOPTED = ".adopt"
# Of `restore`: which copy is being brought back to a server that was empty.
RESTORING = ".restore"
# Of `move`, on the old server: where the registry has gone, see stack/onhost/relay.py. Tasks look there (lock.sh).
MOVED = ".moved"
# On the new one: the addresses of the old one, from which everybody comes who does not know the new address yet.
RELAYED = ".relayed"
# The old one's key for the new one, and what it opens, for as long as it runs: in /run, as root's alone.
MOVE = f"/run/{PROJECT}.move"
# Disk space that is kept.
RESERVE = ".reserve"

LOG = "log"
AUDIT_LOG = f"{LOG}/audit.log"
RENEW_LOG = f"{LOG}/renew.log"
# What cron runs, below DEPLOY_DIR, and what it could not have `inv` tell.
CRON_SCRIPT = "by-cron.sh"
RENEW_UNHEARD = f"{LOG}/renew.unheard"
CARE_LOG = f"{LOG}/care.log"
# What the last night brought, and what people were told of it.
CARE_RECORD = f"{LOG}/care.json"
CARE_ALERT = f"{LOG}/care-alert.json"
# What cron runs each minute, below DEPLOY_DIR; that it did (the time of this file), and what it found last.
MINUTE_SCRIPT = "each-minute.sh"
QUOTA_SEEN = f"{LOG}/quota.seen"
QUOTA_RECORD = f"{LOG}/quota.json"
QUOTA_LOG = f"{LOG}/quota.log"
QUOTA_ALERT = f"{LOG}/quota-alert.json"
QUOTA_LOCK = f"{LOG}/quota.lock"
BACKUP_LOG = f"{LOG}/backup.log"
# What the last copy by cron brought, what people were told of it, and which blobs were whole when first copied.
BACKUP_RECORD = f"{LOG}/backup.json"
BACKUP_ALERT = f"{LOG}/backup-alert.json"
BACKUP_VERIFIED = f"{LOG}/backup.verified"
# Of a standby, and of the server that it follows: who this one is, how it reaches the other, and what was copied last.
STANDBY = "standby"
STANDBY_STATE = f"{STANDBY}/state.json"
STANDBY_COPIED = f"{STANDBY}/copied.json"
STANDBY_LOST = f"{STANDBY}/lost.json"
STANDBY_KEY = f"{STANDBY}/key"
STANDBY_KNOWN = f"{STANDBY}/known_hosts"
STANDBY_SSH = f"{STANDBY}/ssh_config"
STANDBY_RSYNC = f"{STANDBY}/rsyncd.conf"
STANDBY_LOG = f"{LOG}/standby.log"
STANDBY_ALERT = f"{LOG}/standby-alert.json"
STANDBY_LOCK = f"/run/{PROJECT}.standby.lock"
# Which image took the place of which, and when: for `rollback`.
UPGRADES = f"{LOG}/upgrades.json"
# Which image a service has instead of the one of compose.yml, as that one was no good: read by Compose, too.
HELD = "held.yml"
# nginx writes there what was used, see store/onhost/uses.py.
USES = f"{LOG}/uses"
USES_LOG = f"{USES}/uses.log"
# Since when: the time of this file.
USES_BEGUN = f"{USES}/begun"
# Beside it: logins that were refused; and, for METRICS, every request, of which nothing is kept once it is counted.
REFUSED_LOG = f"{USES}/refused.log"
REQUESTS_LOG = f"{USES}/requests.log"
# What was counted, and what comes of it: nginx serves that.
COUNTED = f"{LOG}/metrics.json"
METRICS_LOG = f"{LOG}/metrics.log"
# Up to where EVENT_COMMAND was told, and what people were told of it.
EVENTS_RECORD = f"{LOG}/events.json"
EVENTS_LOG = f"{LOG}/events.log"
EVENTS_ALERT = f"{LOG}/events-alert.json"
# Whether people were told that the accounts of several servers cannot be fetched.
ACCOUNTS_LOG = f"{LOG}/accounts.log"
ACCOUNTS_ALERT = f"{LOG}/accounts-alert.json"
EVENTS_LOCK = f"{LOG}/events.lock"
# Which tags stay, from deploy/.
RETENTION = "retention.ini"

# What tells of a copy that it is whole, and what it is.
SNAPSHOT = "snapshot.json"

REGISTRY = "registry"
DATA = f"{REGISTRY}/data"
# What the registry has in it (distribution, storage/driver/paths).
IN_DATA = "docker/registry/v2"
STORE = f"{DATA}/{IN_DATA}"
# Beside it, on the same disk: what was removed from it, see store/onhost/trash.py.
TRASH = ".trash"
# Beside it, too: a copy of everything on its way out or in, see copies/onhost/inside.py.
COPY = ".copy"
COPY_OUT = "out"
COPY_IN = "in"
# What waits for a standby, what came to it, and the references that it will have next.
COPY_FOLLOWED = "followed"
COPY_FOLLOWING = "following"
COPY_NEXT = "next"
# Whoever removes something has it.
STORE_LOCK = f"{REGISTRY}/.lock"
# How `registry/data` is known again, see machine/onhost/store.py: in it, wherever it leads, and beside all else.
STORE_MARK = ".store"
AUTH = f"{REGISTRY}/auth"
ACCOUNTS = f"{AUTH}/htpasswd"
# Of several servers: which generation of the accounts that file is; see accounts/onhost/generation.py.
GENERATION = f"{AUTH}/generation.json"
# Where all of them find the one that is in force: in the registry itself, for nobody else.
ACCOUNTS_REPOSITORY = "private/accounts"
ACCOUNTS_TAG = "current"
OLD_ACCOUNTS = f"{AUTH}/registry.password"  # of the old scripts
SECRETS = f"{REGISTRY}/secrets"
HTTP_SECRET = f"{SECRETS}/http-secret"
STORE_RECORD = f"{SECRETS}/store"
# Where the images are when not in DATA: of STORAGE=s3, as store/onhost/wire.py has it; and the keys of that store.
S3_PLACE = f"{REGISTRY}/s3.json"
S3_KEYS = f"{SECRETS}/s3-keys"
# Whom to trust there, of S3_CA_BUNDLE.
S3_BUNDLE = f"{REGISTRY}/config/s3-ca.pem"
# What we know of that store, as the files that a registry on a disk would have: see store/onhost/known.py.
KNOWN = f"{REGISTRY}/known"
KNOWN_LOCK = f"{REGISTRY}/.known.lock"
# Between the two: nobody may push until the images are where the registry looks, see copies/onhost/switching.py.
SWITCHING = f"{REGISTRY}/.switching"
SOCKETS = f"{REGISTRY}/sockets"
REGISTRY_SOCKETS = f"{SOCKETS}/{Service.REGISTRY}"
AUTH_SOCKETS = f"{SOCKETS}/{Service.AUTH}"
CONFIG = f"{REGISTRY}/config"
REGISTRY_CONFIG = f"{CONFIG}/config.yml"
AUTH_CONFIG = f"{CONFIG}/auth.yml"
# Until when (seconds since 1970) a container that starts there does not take the requests: see stack/onhost/beside.py.
HOLD = f"{CONFIG}/hold"

# What is in nginx/ is told in stack/onhost/generations.py.
NGINX = "nginx"
GENERATIONS = f"{NGINX}/run"
LIVE = f"{NGINX}/live"
NEXT = f"{NGINX}/next"
PREVIOUS = f"{NGINX}/previous"
LOADED = f"{NGINX}/loaded"
STARTED = f"{NGINX}/started"
PASSWD = f"{NGINX}/passwd"
# S3_BUNDLE for nginx: a part of a generation.
STORE_CA = f"{NGINX}/store-ca.pem"
# A file for each that must not grow: nginx looks for it before a push, and answers with it (store/onhost/quota.py).
FULL = f"{NGINX}/full"
FULL_DISK = "disk"
# What Prometheus gets; and the file in it.
METRICS = f"{NGINX}/metrics"
METRICS_TEXT = "metrics"
# And one that takes no push and no delete at all: a standby, or a server that another one took over from.
FULL_STANDBY = "standby"
# Nothing may change while the registry moves.
FULL_MOVING = "moving"
# /health says that this server takes leave: see stack/onhost/drain.py. No answer, so it has no `.json`.
DRAINING = f"{FULL}/draining"
# Where a load balancer speaks the PROXY protocol; on 443 are those who do not.
PROXY_PORT = 8443
# Below so many bytes free on the images' disk pushes are refused: layers that are on their way already need room, and
# so does all else on that disk. Of one of less than ten times that, a tenth.
LEAST_FREE = 1_000_000_000
LEAST_PART = 10
GROUP = f"{NGINX}/group"

# What a browser gets: the page itself, which `sync` brings under a name of its content, and the lists that it shows,
# which the server makes (store/onhost/index.py).
PAGE = "page"
# A file of a generation of nginx; where it is, there is a page.
PAGE_CONF = "page.conf"
# Another: where it is, the server is one of several.
FLEET_CONF = "fleet.conf"
PAGE_SHELL = f"{PAGE}/index.html"
PAGE_ASSETS = f"{PAGE}/assets"
PAGE_DATA = f"{PAGE}/data"
PAGE_STATE = f"{PAGE}/state.json"
# Of which day the sessions are.
PAGE_DAY = f"{PAGE}/day"
PAGE_LOCK = f"{PAGE}/lock"
PAGE_LOG = f"{LOG}/page.log"
# Says when cron looked last: up to then the lists are right.
PAGE_SEEN = f"{PAGE_DATA}/seen.json"
# Whoever has it can sign in as anybody.
PAGE_SECRET = f"{SECRETS}/page-secret"

CERTBOT = "certbot"
CERTIFICATES = f"{CERTBOT}/conf"
WEBROOT = f"{CERTBOT}/www"
CERTBOT_LOG = f"{CERTBOT}/log"
HOOKS = f"{CERTBOT}/hooks"
REHEARSAL = f"{CERTBOT}/rehearsal"
ACME = f"{CERTBOT}/acme"
ACME_CA_BUNDLE = f"{ACME}/ca.pem"
# The key of ACME_EAB_HMAC_FILE, as a configuration of certbot's.
ACME_EAB = f"{ACME}/eab.ini"
ATTEMPTS = f"{CERTBOT}/attempts.json"
# Of the key of the account at the ACME server, where several servers answer for it: nginx has it, too.
THUMBPRINT = f"{CERTBOT}/thumbprint"

# A certificate of your own, and the place of the one in force in a generation.
TLS = "tls"
FULLCHAIN = "fullchain.pem"
PRIVKEY = "privkey.pem"


class Inside:
    """Paths inside the containers, where compose.yml mounts those above."""

    NGINX = "/etc/docker-registry/nginx"
    CONFIGURATION = f"{NGINX}/live/nginx.conf"
    CANDIDATE = f"{NGINX}/next/nginx.conf"
    FULL = f"{NGINX}/full"
    DRAINING = f"{FULL}/draining"
    WEBROOT = "/var/www/certbot"
    HOOKS = "/hooks"
    REHEARSAL = "/rehearsal"
    ACME = "/acme"
    SOCKETS = "/sockets"
    BLOBS = "/blobs"
    USES = "/uses"
    USES_LOG = f"{USES}/uses.log"
    REFUSED_LOG = f"{USES}/refused.log"
    REQUESTS_LOG = f"{USES}/requests.log"
    METRICS = f"{NGINX}/metrics"
    STATUS = "/run/status.sock"
    PAGE = "/page"
    S3_KEYS = "/secrets/s3-keys"
    # Of S3_CA_BUNDLE, and what the images themselves trust.
    S3_BUNDLE = "/etc/docker-registry/s3-ca.pem"
    # Beside the configuration, of whose generation it is a part.
    STORE_TRUST = "store-ca.pem"
    TRUSTED = "/etc/ssl/certs/ca-certificates.crt"
    CACHE = "/cache"


def version(numbers: tuple[int, ...]) -> str:
    """(2, 17) -> 2.17."""
    return ".".join(map(str, numbers))
