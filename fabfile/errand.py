"""Functions of `fabfile.onhost`, packed as text that a Python elsewhere can run."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

# Read on the host: modules, and calls of their functions. -I keeps what lies about in the directory or
# the environment out of it.
LOADER = (
    "import json,sys,types\n"
    "job=json.load(sys.stdin)\n"
    "for name,source in job['modules']:\n"
    " package,_,last=name.rpartition('.')\n"
    " parent=sys.modules.setdefault(package,types.ModuleType(package))\n"
    " parent.__path__=[]\n"
    " module=sys.modules[name]=types.ModuleType(name)\n"
    " module.__package__=package\n"
    " exec(compile(source,name,'exec'),module.__dict__)\n"
    " setattr(parent,last,module)\n"
    "answers=[]\n"
    "for name,function,args,kwargs in job['calls']:\n"
    " try:\n"
    "  answers.append({'result':getattr(sys.modules[name],function)(*args,**kwargs)})\n"
    " except Exception as error:\n"
    "  if type(error).__name__!='RefusedError':raise\n"
    "  answers.append({'refused':error.args})\n"
    "print(json.dumps(answers))\n"
)

# A function of `fabfile.onhost`, its arguments and keyword arguments: what JSON can carry.
Call = tuple[Callable[..., Any], Sequence[object], Mapping[str, object]]


def packed(calls: Sequence[Call]) -> str:
    """What LOADER reads; it answers with a list of {"result"} or {"refused": [what, remedy]}."""
    modules: dict[str, str] = {}
    for function, _, _ in calls:
        _add_sources(sys.modules[function.__module__], modules)
    return json.dumps({"modules": list(modules.items()), "calls": [_named(call) for call in calls]})


def key(call: Call) -> str:
    """What makes one call the same as another."""
    return json.dumps(_named(call), sort_keys=True)


def _named(call: Call) -> list[object]:
    function, args, kwargs = call
    return [function.__module__, function.__name__, args, kwargs]


def _add_sources(module: ModuleType, found: dict[str, str]) -> None:
    """Add name -> source of a module of `fabfile.onhost`, behind those that it imports from."""
    if module.__name__ in found:
        return
    package = module.__name__.rpartition(".")[0]
    source = inspect.getsource(module)
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            # `from . import a, b` names modules, `from .a import b` one.
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                _add_sources(sys.modules[f"{package}.{name}"], found)
    found[module.__name__] = source
