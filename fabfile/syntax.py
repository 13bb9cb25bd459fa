"""The syntax tree of a Python source, for whoever wants to know what it imports."""

from __future__ import annotations

import ast
import threading

# Python 3.11 and older count how deep they are for all threads together: python/cpython#106905.
ONE_AT_A_TIME = threading.Lock()


def tree(source: str) -> ast.Module:
    """Parse it, from any thread."""
    with ONE_AT_A_TIME:
        return ast.parse(source)
