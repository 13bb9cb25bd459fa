"""The `docker compose` commands, as lists of arguments. Nothing here runs anything."""

from __future__ import annotations

from .settings import Settings

# Not `docker-registry`: the old scripts' project has that name, after its directory.
PROJECT = "private-docker-registry"

# Paths inside the containers; deploy/compose.yml.j2 mounts them.
NGINX_DIR = "/etc/docker-registry/nginx"
WEBROOT = "/var/www/certbot"
HOOKS = "/hooks"
REHEARSAL = "/rehearsal"
SOCKETS = "/sockets"
BLOBS = "/blobs"
CERTBOT_CONTAINER = "private-docker-registry-certbot"


def compose(settings: Settings, *args: str) -> list[str]:
    """`docker compose` for our project alone, whatever directory it is called from.

    The empty --env-file keeps a stray `.env` in the directory out of it.
    """
    return [
        "docker", "compose", "--ansi", "never", "--project-name", PROJECT,
        "--file", f"{settings.deploy_dir}/compose.yml", "--env-file", "/dev/null", *args,
    ]  # fmt: skip


def up(settings: Settings) -> list[str]:
    """Start what is not running, replace what changed. That all is healthy, `bring_up` waits for."""
    return compose(settings, "up", "--detach", "--quiet-pull")


def create(settings: Settings) -> list[str]:
    """Make the containers, with their images, and start none: all that needs no port."""
    return compose(settings, "create")


def down(settings: Settings) -> list[str]:
    """Stop and remove the containers; data, accounts and certificates stay on disk."""
    return compose(settings, "down")


def remove() -> list[str]:
    """Stop and remove our containers, whatever has become of compose.yml."""
    return ["docker", "compose", "--project-name", PROJECT, "down"]


def logs(settings: Settings, lines: int) -> list[str]:
    """The last lines of every container's log."""
    return compose(settings, "logs", "--no-color", "--timestamps", "--tail", str(lines))


def containers(settings: Settings) -> list[str]:
    """Our containers, one JSON object a line."""
    return compose(settings, "ps", "--all", "--format", "json")


def running(settings: Settings, service: str) -> list[str]:
    """The ID of the service's container, when it runs."""
    return compose(settings, "ps", "--quiet", "--status", "running", service)


def nginx_test(settings: Settings) -> list[str]:
    """`nginx -t` on the candidate configuration, in a container of its own: it works before nginx ever ran."""
    return compose(
        settings, "run", "--rm", "--no-deps", "--no-TTY", "--quiet-pull",
        "nginx", "-t", "-q", "-c", f"{NGINX_DIR}/next/nginx.conf",
    )  # fmt: skip


def nginx_test_running(settings: Settings) -> list[str]:
    """The same in the container that runs: what waits for `up` in compose.yml has no part in it."""
    return compose(
        settings, "exec", "--no-TTY", "nginx", "nginx", "-t", "-q", "-c", f"{NGINX_DIR}/next/nginx.conf",
    )  # fmt: skip


def certbot(settings: Settings, *args: str) -> list[str]:
    """A certbot command in a container of a fixed name, so that a second one finds the first."""
    return compose(
        settings, "run", "--rm", "--no-deps", "--no-TTY", "--quiet-pull",
        "--name", CERTBOT_CONTAINER, "certbot", *args,
    )  # fmt: skip


def issue(settings: Settings, *, again: bool) -> list[str]:
    """Order a certificate for all names.

    again: order although the one at hand is still good (another ACME server, other names).
    """
    return certbot(
        settings,
        "certonly",
        *_order(settings, settings.acme_directory),
        *(["--force-renewal", "--renew-with-new-domains", "--break-my-certs"] if again else ["--keep-until-expiring"]),
    )


def rehearse(settings: Settings) -> list[str]:
    """The same order at another ACME server, in a certbot directory of its own that `issue` never sees."""
    return certbot(
        settings, "certonly", *_order(settings, settings.rehearsal), "--force-renewal",
        "--config-dir", f"{REHEARSAL}/conf", "--work-dir", f"{REHEARSAL}/work",
    )  # fmt: skip


def _order(settings: Settings, server: str) -> list[str]:
    names = [part for name in settings.certificate_names for part in ("-d", name)]
    return [
        *_challenge(settings), "--non-interactive", "--agree-tos", "-m", settings.acme_email,
        "--server", server, "--cert-name", settings.registry_domain, *names, *_profile(settings),
    ]  # fmt: skip


def _challenge(settings: Settings) -> list[str]:
    if settings.acme_challenge == "http-01":
        return ["--webroot", "-w", WEBROOT, "--preferred-challenges", "http"]
    return [
        "--manual", "--preferred-challenges", "dns",
        "--manual-auth-hook", f"{HOOKS}/dns-auth", "--manual-cleanup-hook", f"{HOOKS}/dns-cleanup",
    ]  # fmt: skip


def _profile(settings: Settings) -> list[str]:
    # Required, not preferred: a certificate of another lifetime than asked for is no small thing.
    return ["--required-profile", settings.acme_profile] if settings.acme_profile else []


def renew(settings: Settings, *, dry_run: bool) -> list[str]:
    """Renew the certificate where it is due, at once: cron already spreads the load.

    When it is due, certbot says: at the time that the authority names (ARI, RFC 9773), else when a
    third of the lifetime is left, of a short one (10 days) half.
    The way of the challenge is given anew: certbot would go on as at the first order.
    A rehearsal asks Let's Encrypt's staging unless certbot is told another server
    (certbot's manual, --dry-run).
    """
    private = settings.acme_server.startswith("https://")
    rehearsal = ["--dry-run", *(["--server", settings.acme_server] if private else [])]
    return certbot(
        settings, "renew", "--non-interactive", "--no-random-sleep-on-renew",
        "--cert-name", settings.registry_domain, *_challenge(settings), *_profile(settings), *(rehearsal if dry_run else []),
    )  # fmt: skip
