"""A function of `fabfile.onhost`, packed as text that a Python elsewhere can run."""

from __future__ import annotations

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
    owners = {getattr(value, "__module__", None) for value in vars(module).values()}
    found: dict[str, str] = {}
    for name in sorted(owner for owner in owners if owner and owner.startswith(f"{package}.")):
        if name != module.__name__:
            found |= _sources(sys.modules[name])
    return [*found.items(), (module.__name__, inspect.getsource(module))]
