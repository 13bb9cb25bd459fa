"""Functions of the `onhost` folders, packed as text that a Python elsewhere can run."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import resolve_name
from types import ModuleType
from typing import Any, TypedDict

from .. import syntax
from .onhost.atomic import Refusal

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
    "  answers.append({'refused':error.refusal()})\n"
    "print(json.dumps(answers))\n"
)

# What they import of the standard library. Debian's python3-minimal has not all of it, nor has a Python that
# was built where OpenSSL was not.
MODULES = (
    "base64", "calendar", "collections", "collections.abc", "concurrent.futures", "configparser", "contextlib",
    "ctypes", "dataclasses", "email.message", "email.utils", "errno", "fcntl", "fnmatch", "functools", "gzip",
    "hashlib", "hmac", "http.client", "ipaddress", "itertools", "json", "os", "pathlib", "pwd", "re", "shlex", "shutil",
    "signal", "socket", "ssl", "stat", "struct", "subprocess", "sys", "tempfile", "threading", "time", "types",
    "typing", "urllib.error", "urllib.parse", "urllib.request", "xml.etree.ElementTree",
)  # fmt: skip

# A function of an `onhost` module, its arguments and keyword arguments: what JSON can carry.
Call = tuple[Callable[..., Any], Sequence[object], Mapping[str, object]]


class Answer(TypedDict, total=False):
    """To a call: one of these."""

    result: object
    refused: Refusal


def packed(calls: Sequence[Call]) -> str:
    """What LOADER reads; it answers with a list of `Answer`."""
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
    """Add name -> source of a module, behind those of ours that it imports from."""
    if module.__name__ in found:
        return
    source = inspect.getsource(module)
    for node in syntax.tree(source).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = resolve_name("." * node.level + (node.module or ""), module.__package__)
            # `from .a import b` names a module a, or a package a with a module b.
            for name in [base, *(f"{base}.{alias.name}" for alias in node.names)]:
                other = sys.modules.get(name)
                if other and not hasattr(other, "__path__"):
                    _add_sources(other, found)
    found[module.__name__] = source
