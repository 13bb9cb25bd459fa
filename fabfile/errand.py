"""A function of `fabfile.onhost`, packed as text that a Python elsewhere can run."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

# Read on the host: modules, the function's name and its arguments. -I keeps what lies about in the
# directory or the environment out of it.
LOADER = (
    "import json,sys,types\n"
    "job=json.load(sys.stdin)\n"
    "for name,source in job['modules']:\n"
    " module=sys.modules[name]=types.ModuleType(name)\n"
    " module.__package__=name.rpartition('.')[0]\n"
    " exec(compile(source,name,'exec'),module.__dict__)\n"
    "try:\n"
    " answer={'result':getattr(module,job['function'])(*job['args'],**job['kwargs'])}\n"
    "except Exception as error:\n"
    " if type(error).__name__!='RefusedError':raise\n"
    " answer={'refused':error.args}\n"
    "print(json.dumps(answer))\n"
)


def packed(
    function: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]
) -> str:
    """What LOADER reads. Arguments must be what JSON can carry."""
    return json.dumps(
        {
            "modules": _sources(sys.modules[function.__module__]),
            "function": function.__name__,
            "args": args,
            "kwargs": kwargs,
        }
    )


def _sources(module: ModuleType) -> list[tuple[str, str]]:
    """(name, source) of a module of `fabfile.onhost` and before it of those that it imports from."""
    package = module.__name__.rpartition(".")[0]
    source = inspect.getsource(module)
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= _sources(sys.modules[f"{package}.{node.module}"])
    return [*found.items(), (module.__name__, source)]
