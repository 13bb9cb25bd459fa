"""The only door to a machine: run a command, call a function there. SSH and local alike.

No control character of what a machine says comes through it: see text.printable.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from ..errors import StepError, UsageError, addressed
from ..layout import COMPOSE_FILE
from ..secret import Secret
from ..text import cleaned, printable
from . import away, remote_call, scripts
from .conversation import MARK, Conversation, End, LocalConversation, last_line, ours
from .onhost.atomic import FULL, RefusedError, disk_remedy, exists, told_remedy
from .refusal import instead

if TYPE_CHECKING:
    from invoke import Result

P = ParamSpec("P")
R = TypeVar("R")

MORE = "run it again with --debug as the first option to see more"


class WholeInput(io.StringIO):
    """Text for a command's standard input, handed over in one piece.

    Invoke reads one character at a time, about 100 a second (invoke#774), unless `read` gives more.
    """

    def read(self, size: int | None = -1, /) -> str:
        """Return all that is left, whatever was asked for."""
        return super().read(-1)


class BrokenCallError(StepError):
    """A call ended without an answer: a mistake of ours, or there is no Python. The connection is whole."""


@dataclass(frozen=True)
class Elevation:
    """How a command becomes root's: what stands before it, and what sudo reads first."""

    prefix: tuple[str, ...] = ()
    input: Secret = field(default_factory=lambda: Secret(""))


@dataclass(frozen=True)
class Host:
    """A machine, seen through an invoke `Context`: over SSH when that is a fabric `Connection`.

    runner: the context's `run`; begin: starts a command to talk with; lost: what these raise when the connection is
    gone; foreseen: answers of calls that were asked beforehand; forced: to go on although a newer version of this tool
    deployed it. fab: how a command for it begins. host_key: that was verified; reached: where SSH went, with the port.
    """

    runner: Callable[..., Any]
    name: str
    local: bool
    elevation: Elevation = Elevation()
    begin: Callable[[str], Conversation] = LocalConversation
    lost: tuple[type[Exception], ...] = (OSError, EOFError)
    foreseen: dict[str, remote_call.Answer] = field(default_factory=dict, compare=False)
    forced: bool = False
    option: str | None = None
    host_key: str = ""
    reached: tuple[str, int] = ("", 0)

    @property
    def fab(self) -> str:
        """How our commands for this machine begin."""
        return addressed("./fab -H …", self.option)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str = "",
        check: bool = True,
        remedy: str = "",
    ) -> Result:
        """Run one command on the machine, as root on a server, each argument quoted for its shell.

        input: text for standard input; secrets travel this way and never in `argv`.
        Raises StepError with the command's last words unless it exits 0 or `check` is off, and
        in any case when the connection is lost, or the server runs something else in its place.
        """
        result = self._run(argv, input)
        result.stdout, result.stderr = printable(result.stdout), printable(result.stderr)
        if check and not result.ok:
            said = last_words(result)
            raise StepError(f"{self.name}: {argv[0]}: {said}", told_remedy(said) or remedy)
        return result

    def _run(self, argv: Sequence[str], input: str) -> Result:
        self.foreseen.clear()
        command = self._command(argv)
        stream = WholeInput(self.elevation.input.reveal() + input)
        try:
            result = cast("Result", self.runner(command, in_stream=stream, hide=True, warn=True, pty=False))
        except self.lost as error:
            raise self._cut(_reason(error)) from None
        if result.exited < 0 and not self.local:
            # No exit status ever came (RFC 4254, 6.10 makes it optional; sshd always sends one).
            raise self._cut("it ended without an exit status")
        if not self.local:
            if MARK not in result.stdout:
                said = last_line(result.stderr, result.stdout)
                raise instead(self.name, End(said, result.exited, began=False))
            result.stdout = ours(result.stdout)
        return result

    def converse(self, argv: Sequence[str]) -> Conversation:
        """Begin a command on the machine and talk with it."""
        self.foreseen.clear()
        try:
            conversation = self.begin(self._command(argv))
            if self.elevation.input:
                conversation.send(self.elevation.input.reveal().rstrip("\n"))
        except self.lost as error:
            raise self._cut(_reason(error)) from None
        return conversation

    def failed(self, end: End, what: str, remedy: str) -> StepError:
        """The error for a conversation that ended before it should: what was said last, and what to do.

        what: the command that it was; remedy: where it was begun and said why it failed.
        """
        if end.status < 0:
            return self._cut("it ended without an exit status")
        if not end.began:
            return instead(self.name, end)
        return StepError(f"{self.name}: {what}: {end.said or 'no message'} (exit status {end.status})", remedy)

    def append(self, path: str, offset: int, blocks: Iterable[bytes]) -> None:
        """Write bytes into a file of the machine, from an offset on; only root can read it.

        Over a channel of their own: a text stream would damage them.
        """
        script = 'umask 077; mkdir -p "${1%/*}"; touch "$1"; truncate -s "$2" "$1"; cat >>"$1" && echo done'
        conversation = self.converse(["sh", "-c", script, "sh", path, str(offset)])
        try:
            for block in blocks:
                conversation.write(block)
            conversation.finish()
            written = conversation.receive() == "done"
            conversation.close()
        except self.lost:
            written = False
        if not written:
            # Of a full disk we hear the same as of a lost connection: nobody listens any more.
            self.run(["true"])
            raise StepError(f"{self.name}: {path} could not be written", FULL)

    def _command(self, argv: Sequence[str]) -> str:
        command = shlex.join([*self.elevation.prefix, *argv])
        # The login shell's own start files may print something first: a mark tells what is ours.
        return command if self.local else f"printf '\\036' && {for_any_shell(command)}"

    def _cut(self, reason: str) -> StepError:
        return StepError(
            f"{self.name}: the connection was lost: {reason}",
            "run the same command again: it goes on where this one stopped",
        )

    def script(self, name: str, *args: str) -> str:
        """Run a POSIX shell script of ours on the machine, see scripts.py; return what it prints."""
        return str(self.run(["sh", "-s", "--", *args], input=scripts.script(name)).stdout)

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function of an `onhost` module on the machine and return its result.

        Arguments and result must be what JSON can carry.
        Raises StepError with the function's own words when it refuses.
        """
        if self.local:
            answer: remote_call.Answer
            try:
                answer = {"result": cleaned(function(*args, **kwargs))}
            except RefusedError as refused:
                answer = {"refused": cleaned(refused.refusal())}
            except OSError as error:
                if not (remedy := disk_remedy(error.errno or 0)):
                    raise
                answer = {"refused": cleaned(RefusedError(str(error), remedy).refusal())}
        else:
            call = (function, args, kwargs)
            answer = self.foreseen.get(remote_call.key(call)) or self._ask([call])[0]
        if "refused" in answer:
            no = answer["refused"]
            raise StepError(f"{self.name}: {no['what']}", *no["remedies"], reason=no["reason"])
        return cast("R", answer["result"])

    def foresee(self, calls: Sequence[remote_call.Call]) -> None:
        """Ask all of that at once, as each trip takes its time; `call` then knows the answers.

        For functions that change nothing. Whatever else is done on the machine in between makes
        them forgotten. What is known already is not asked again. Where one of them breaks, nothing is foreseen:
        each is then asked alone, and the error comes where it belongs.
        """
        if not self.local and any(remote_call.key(call) not in self.foreseen for call in calls):
            try:
                answers = self._ask(calls)
            except BrokenCallError:
                return
            self.foreseen.update(zip(map(remote_call.key, calls), answers, strict=True))

    def _ask(self, calls: Sequence[remote_call.Call]) -> list[remote_call.Answer]:
        # Not by `run`: what is printable is no JSON any more.
        result = self._run(["python3", "-I", "-B", "-c", remote_call.LOADER], remote_call.packed(calls))
        if not result.ok:
            # A shell says it with its status, sudo with its words.
            if result.exited == 127 or "python3: command not found" in result.stderr:
                # `provision` brings it, so nothing was ever deployed.
                what = f"{self.name}: nothing is deployed here: there is not even Python 3"
                raise UsageError(what, "./fab -H … bootstrap")
            names = ", ".join(function.__name__ for function, _, _ in calls)
            said = printable(last_words(result))
            raise BrokenCallError(f"{self.name}: {names}: {said}", told_remedy(said) or _python_remedy(result))
        answers: list[remote_call.Answer] = cleaned(json.loads(result.stdout))
        return answers


def here() -> Host:
    """The machine that this program runs on."""
    return Host(_run_here, "this machine", local=True)


def _run_here(command: str, *, in_stream: WholeInput, **_: object) -> Result:
    """A command on this machine. Not by invoke, which would keep Ctrl-C from us."""
    from invoke import Result

    done = subprocess.run(
        ["/bin/sh", "-c", command],
        input=in_stream.read().encode(),
        capture_output=True,
        check=False,
    )
    # Python's own text mode would make a line break of each carriage return.
    out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
    return Result(stdout=out, stderr=err, exited=done.returncode)


def deployed(directory: str) -> remote_call.Call:
    """What `require_deployed` asks, for Host.foresee."""
    return exists, (f"{directory}/{COMPOSE_FILE}",), {}


def require_deployed(host: Host, directory: str) -> None:
    """Raise UsageError where nothing was deployed in that directory of the machine, StepError where it is away."""
    function, args, _ = deployed(directory)
    if not host.call(function, *args):
        refuse_away(host, directory)
        raise UsageError(f"{host.name}: nothing is deployed in {directory}", "./fab -H … bootstrap")


def refuse_away(host: Host, directory: str) -> None:
    """Raise StepError where that directory is empty though it was not: see away.py. For one without our files."""
    if names := host.script(scripts.AWAY, directory, *scripts.AWAY_KNOWS).strip():
        raise away.error(host.name, directory, names)


def for_any_shell(command: str) -> str:
    """The command of a POSIX shell, so that csh and fish understand it too.

    In quotes csh takes neither a line break nor `!`, and to fish a backslash means something (fish, Quotes).
    """
    if not re.search(r"[\n!\\]", command):
        return command
    plain = re.sub(rb"[^\w ./:=,@%+-]", lambda found: b"\\0%03o" % found[0][0], command.encode())
    return f"sh -c 'eval \"exec $(printf %b \"$0\")\"' '{plain.decode('ascii')}'"


def _reason(error: Exception) -> str:
    """What a lost connection is told by; of an error in one of invoke's threads, that of the thread."""
    inner = getattr(error, "exceptions", None)
    return str(inner[0].value) if inner else str(error)


def last_words(result: Result) -> str:
    """The last line that a failed command printed, with its exit status."""
    return f"{last_line(result.stderr, result.stdout) or 'no message'} (exit status {result.exited})"


def _python_remedy(result: Result) -> str:
    if "No module named" in result.stderr:
        return "./fab -H … provision installs what Python lacks; ./fab -H … check names it"
    return MORE
