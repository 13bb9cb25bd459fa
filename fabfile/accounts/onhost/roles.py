"""The roles that an account can have. What each may do is decided in deploy/nginx/access.conf.j2."""

from __future__ import annotations

# An admin may delete, and list all; who may push may pull; METRICS reads /metrics, and may do nothing else.
METRICS = "metrics"
ROLES = ("pull", "push", "admin", METRICS)


def role(text: str) -> str:
    """Check the name of a role. Raises ValueError with what is expected."""
    if text not in ROLES:
        raise ValueError(f"expected one of: {', '.join(ROLES)}")
    return text
