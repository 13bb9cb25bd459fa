"""deploy/retention.ini: which tags may go, and how much repositories may take up. Pure, but for `read`.

Not TOML, as Python 3.10 on a server does not read that. Nothing in it removes anything but by what it names: without a
section that matches, nothing of a repository goes.
"""

from __future__ import annotations

import configparser
import hashlib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ...layout import RETENTION
from ...machine.onhost.atomic import RefusedError

KEYS = ("protect", "keep", "untagged", "quota")
UNITS = {"min": 60, "h": 3600, "d": 86400}
AGE = re.compile(r"([0-9]{1,5})(min|h|d)\Z")
SIZES = {"M": 10**6, "G": 10**9, "T": 10**12}
QUOTA = re.compile(r"([1-9][0-9]{0,5})([MGT])B?\Z")
# What a tag can have (distribution, reference), and what a pattern of it.
PROTECTED = re.compile(r"[A-Za-z0-9_.*?\[\]!-]+\Z")
NEVER = -1.0
# What `images --undo` brought back stays for so long, whatever the rules say.
RESTORED = 30 * 86400.0


@dataclass(frozen=True)
class Rule:
    """One section. Ages in seconds; newest, pushed, used: 0 for a rule that is not there.

    keeps: whether there is `keep` at all, as without it no tag goes. untagged: NEVER for none. quota: bytes, 0 for
    none.
    """

    pattern: str
    line: int
    protect: tuple[str, ...] = ()
    keeps: bool = False
    newest: int = 0
    pushed: float = 0.0
    used: float = 0.0
    untagged: float = NEVER
    quota: int = 0

    @property
    def key(self) -> str:
        """What stands for it in names of files, and in nginx's configuration."""
        return hashlib.sha256(self.pattern.encode()).hexdigest()[:16]


def read(directory: str) -> list[Rule] | None:
    """The rules of a server; None where there is no file. Raises RefusedError for a mistake in it."""
    path = Path(directory, RETENTION)
    return parse(path.read_text("utf-8", "replace")) if path.is_file() else None


def parse(text: str) -> list[Rule]:
    """The sections, in the order of the file. Raises RefusedError with the line of a mistake."""
    found = configparser.RawConfigParser(
        delimiters=("=",), inline_comment_prefixes=(";", "#"), default_section="\0", empty_lines_in_values=False
    )
    found.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        found.read_string(text)
    except configparser.DuplicateSectionError as error:
        raise _wrong(error.lineno or 0, f"[{error.section}] is there twice") from None
    except configparser.DuplicateOptionError as error:
        raise _wrong(error.lineno or 0, f"{error.option} is there twice") from None
    except configparser.MissingSectionHeaderError as error:
        raise _wrong(error.lineno, "expected [PATTERN OF REPOSITORIES] above it") from None
    except configparser.ParsingError as error:
        raise _wrong(error.errors[0][0] if error.errors else 0, "expected KEY = VALUE") from None
    return [_rule(name, dict(found[name]), text) for name in found.sections()]


def _rule(name: str, values: dict[str, str], text: str) -> Rule:
    line = _line(text, rf"\[{re.escape(name)}\]", 1)
    if not re.fullmatch(r"[a-z0-9._/*-]+", name):
        raise _wrong(line, f"[{name}]: expected a pattern of repositories, for example [team-a/*]")
    for key in values:
        if key not in KEYS:
            raise _wrong(_line(text, rf"{re.escape(key)}\b", line), f"{key}: expected one of {', '.join(KEYS)}")
    if values.keys() <= {"protect"}:
        raise _wrong(line, f"[{name}] needs keep, untagged or quota, or it does nothing")
    options: dict[str, float] = {}
    keep = _line(text, "keep", line)
    for item in values["keep"].split(",") if "keep" in values else ():
        options |= _kept(item.strip(), keep)
    protect = tuple(values.get("protect", "").split())
    for each in protect or ("",) * ("protect" in values):
        if not PROTECTED.match(each):
            raise _wrong(
                _line(text, "protect", line),
                f"protect: {each or 'nothing'}: expected patterns of tags with blanks between, for example v* stable",
            )
    untagged = values.get("untagged", "never").strip()
    return Rule(
        name,
        line,
        protect,
        "keep" in values,
        int(options.get("newest", 0)),
        options.get("pushed", 0.0),
        options.get("used", 0.0),
        NEVER if untagged == "never" else _age(untagged, _line(text, "untagged", line)),
        _bytes(values["quota"].strip(), _line(text, "quota", line)) if "quota" in values else 0,
    )


def _kept(item: str, line: int) -> dict[str, float]:
    """One part of `keep`: `10 newest`, `pushed 30d`, `used 90d`."""
    if found := re.fullmatch(r"([1-9][0-9]{0,5}) newest", item):
        return {"newest": float(found[1])}
    word, _, age = item.partition(" ")
    if word in ("pushed", "used"):
        return {word: _age(age.strip(), line)}
    raise _wrong(line, f"keep: {item or 'an empty part'}: expected `10 newest`, `pushed 30d` or `used 90d`")


def _age(text: str, line: int) -> float:
    found = AGE.match(text)
    if not found or int(found[1]) == 0:
        raise _wrong(line, f"{text or 'nothing'}: expected an age, for example 30d, 12h or 90min")
    return float(found[1]) * UNITS[found[2]]


def _bytes(text: str, line: int) -> int:
    found = QUOTA.match(text)
    if not found:
        raise _wrong(line, f"quota: {text or 'nothing'}: expected a size, for example 500M, 50G or 2T")
    return int(found[1]) * SIZES[found[2]]


def _line(text: str, pattern: str, start: int) -> int:
    """The first line from there on that begins so."""
    for number, line in enumerate(text.splitlines(), 1):
        if number >= start and re.match(rf"\s*{pattern}", line):
            return number
    return start


def _wrong(line: int, what: str) -> RefusedError:
    return RefusedError(f"{RETENTION}:{line}: {what}", f"correct that line of deploy/{RETENTION}, then ./fab -H … sync")


def for_repository(rules: list[Rule], name: str) -> Rule | None:
    """The first section that matches: `*` is anything, slashes too, as with accounts."""
    return next((rule for rule in rules if fnmatchcase(name, rule.pattern)), None)


def brought_back(restored: dict[str, float], now: float) -> dict[str, tuple[bool, str]]:
    """The same as `judged` says, for tags that were brought back lately. restored: tag -> when."""
    return {
        tag: (True, f"brought back {_days(now - when)} ago") for tag, when in restored.items() if now - when < RESTORED
    }


def judged(
    rule: Rule, tags: dict[str, float], used: dict[str, float], now: float, begun: float
) -> dict[str, tuple[bool, str]]:
    """Tag -> whether it stays, and why.

    tags: tag -> when it was pushed; used: tag -> when it was last used, 0 for never; begun: since when that is written
    down, so what was used before counts as used then. Those that are as new as the last of the newest stay, too.
    """
    answer: dict[str, tuple[bool, str]] = {}
    open_ = {}
    for tag, pushed in tags.items():
        if by := next((each for each in rule.protect if fnmatchcase(tag, each)), ""):
            answer[tag] = (True, f"protected by {by}")
        elif not rule.keeps:
            answer[tag] = (True, f"[{rule.pattern}] has no keep")
        else:
            open_[tag] = pushed
    newest = sorted(open_.values(), reverse=True)[: rule.newest]
    for tag, pushed in open_.items():
        last = max(used[tag], begun)
        against = []
        if rule.newest:
            if newest and pushed >= newest[-1]:
                answer[tag] = (True, f"among the {rule.newest} newest")
                continue
            against.append(f"not among the {rule.newest} newest")
        for word, when, age in (("pushed", pushed, rule.pushed), ("used", last, rule.used)):
            if age and now - when < age:
                answer[tag] = (True, f"{word} {_days(now - when)} ago")
                break
            if age:
                against.append(f"{word} {_days(now - when)} ago")
        else:
            answer[tag] = (False, ", ".join(against))
    return answer


def _days(seconds: float) -> str:
    return f"{max(0.0, seconds) / 86400:.0f} d"
