"""A throw-away world for the demo and the end-to-end tests: a server, a client, a CA and DNS.

Nothing here touches a machine other than the one it runs on. See `sandbox.py` for the whole of it.
"""

from .commands import SandboxError, Say
from .sandbox import Sandbox

__all__ = ["Sandbox", "SandboxError", "Say"]
