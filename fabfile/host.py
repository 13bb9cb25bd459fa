"""The only door to a machine: run a command, call a function there. SSH and local alike."""

from __future__ import annotations

import inspect
import io
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from .errors import StepError, UsageError
from .onhost.atomic import RefusedError

if TYPE_CHECKING:
    from invoke import Context, Result

P = ParamSpec("P")
R = TypeVar("R")

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


class WholeInput(io.StringIO):
    """Text for a command's standard input, handed over in one piece.

    Invoke reads one character at a time, about 100 a second (invoke#774), unless `read` gives more.
    """

    def read(self, size: int | None = -1, /) -> str:
        """Return all that is left, whatever was asked for."""
        return super().read(-1)


class Host:
    """A machine, seen through an invoke `Context`: over SSH when that is a fabric `Connection`."""

    def __init__(self, run: Callable[..., Any], name: str, *, local: bool) -> None:
        self._run = run
        self.name = name
        self.local = local

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str = "",
        check: bool = True,
        remedy: str = "",
        env: dict[str, str] | None = None,
    ) -> Result:
        """Run one command on the machine, each argument quoted for its shell.

        input: text for standard input; secrets travel this way and never in `argv`.
        Raises StepError with the command's last words unless it exits 0 or `check` is off.
        """
        prefix = ["env", *(f"{key}={value}" for key, value in env.items())] if env else []
        command = shlex.join([*prefix, *argv])
        # Only the server's own shell can be chosen: over SSH it is the login shell of the user.
        shell = {"shell": "/bin/sh"} if self.local else {}
        result = cast(
            "Result",
            self._run(
                command, in_stream=WholeInput(input), hide=True, warn=True, pty=False, **shell
            ),
        )
        if check and not result.ok:
            raise StepError(f"{self.name}: {argv[0]}: {last_words(result)}", remedy)
        return result

    def script(self, path: Path, *args: str) -> str:
        """Run a POSIX shell script of ours on the machine; return what it prints."""
        return str(self.run(["sh", "-s", "--", *args], input=path.read_text("utf-8")).stdout)

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function of `fabfile.onhost` on the machine and return its result.

        Arguments and result must be what JSON can carry.
        Raises StepError with the function's own words when it refuses.
        """
        if self.local:
            try:
                return function(*args, **kwargs)
            except RefusedError as refused:
                raise StepError(f"{self.name}: {refused.what}", refused.remedy) from None
        module = sys.modules[function.__module__]
        atomic = sys.modules[RefusedError.__module__]
        job = {
            "modules": [(m.__name__, inspect.getsource(m)) for m in (atomic, module)],
            "function": function.__name__,
            "args": args,
            "kwargs": kwargs,
        }
        result = self.run(["python3", "-I", "-B", "-c", LOADER], input=json.dumps(job), check=False)
        if not result.ok:
            raise StepError(
                f"{self.name}: {function.__name__}: {last_words(result)}", _python_remedy(result)
            )
        answer = json.loads(result.stdout)
        if "refused" in answer:
            what, remedy = answer["refused"]
            raise StepError(f"{self.name}: {what}", remedy)
        return cast("R", answer["result"])


def here(c: Context) -> Host:
    """The machine that this program runs on, whatever `c` is connected to."""
    return Host(getattr(c, "local", c.run), "this machine", local=True)


def require_host(c: Context) -> None:
    """Raise UsageError unless `-H` named a server."""
    if not hasattr(c, "original_host"):
        raise UsageError(
            "this task works on a server and none was named",
            "./fab -H root@registry.example.com TASK",
        )


def remote(c: Context) -> Host:
    """The machine that `-H` names. Opens the connection, its host key checked.

    Raises StepError where the machine cannot be reached.
    """
    from .trust import connect  # paramiko is slow to import, and absent on a server

    connect(c)
    return Host(c.run, c.original_host, local=False)


def require_deployed(host: Host, directory: str) -> None:
    """Raise UsageError where nothing was deployed in that directory of the machine."""
    if not host.run(["test", "-f", f"{directory}/compose.yml"], check=False).ok:
        raise UsageError(
            f"{host.name}: nothing is deployed in {directory}", "./fab -H HOST bootstrap"
        )


def last_words(result: Result) -> str:
    """The last line that a failed command printed, with its exit status."""
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    return f"{lines[-1].strip() if lines else 'no message'} (exit status {result.exited})"


def _python_remedy(result: Result) -> str:
    if result.exited == 127:
        return "install Python 3 on the server: apt-get install python3"
    return "run it again with --debug as the first option to see more"
