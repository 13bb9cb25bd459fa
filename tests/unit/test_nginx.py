"""What a new version of the tool does with an nginx that still runs what an old one made."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.accounts.onhost import accounts_conf
from fabfile.layout import ACCOUNTS
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.settings import HOME
from fabfile.stack.onhost import generations, lineage, logins, nginx, wanted
from tests.nginx import pair

from .test_accounts import HASH

OLD = 'map $account $role {\n    default "";\n}\nmap $account $limited {\n    default 0;\n}\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server with an account, where nothing is live yet."""
    for name in ("nginx/run", "registry/auth", "tls"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ACCOUNTS).write_text(f"anna:{HASH}\n")
    return tmp_path


def go_live(root: Path, **files: str) -> None:
    config = {f"{name}.conf": text.encode() for name, text in files.items()}
    generations.promote(root, root / "none", config, lambda: None)


def test_accounts_stay_as_they_are_until_up(root: Path) -> None:
    """The maps of this version in the configuration of another: nginx would not take them, or mean another thing."""
    go_live(root, nginx="old", accounts=OLD)
    before = (root / ACCOUNTS).read_text()
    with pytest.raises(RefusedError, match="another version of this tool") as refused:
        logins.remove(str(root), "anna")
    assert refused.value.remedies == ("./fab -H … sync up, then this again",)
    with pytest.raises(RefusedError, match="another version"):
        logins.put(str(root), {"bert": f"bert:{HASH}"}, {"role": "pull", "repositories": None})
    assert (root / ACCOUNTS).read_text() == before


def test_accounts_may_change_where_nginx_runs_ours_or_nothing(root: Path) -> None:
    nginx.require_current(str(root))
    maps = accounts_conf.maps(root / ACCOUNTS).decode()
    go_live(root, nginx="ours", accounts=maps)
    (root / ACCOUNTS).write_text(f"# bert role=pull repositories=a/* changed=2026\nbert:{HASH}\n")
    nginx.require_current(str(root))


def activated(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is live after a certificate came."""
    for name, text in zip(lineage.PAIR, pair(), strict=True):
        (root / "tls" / name).write_text(text)
    monkeypatch.setattr(nginx, "_test", lambda _: None)
    monkeypatch.setattr(nginx, "_load_or_go_back", lambda *_: 1)
    nginx.activate(str(root), str(root / "tls"))
    return {name: data.decode() for name, data in generations.content(root / "nginx/live").items()}


def test_the_first_certificate_brings_one_version_of_all_that_needs_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_live(root, nginx="old", authorize="old", accounts=OLD)
    for name in ("nginx", "https", "access", "override"):
        (root / f"nginx/{name}.conf").write_text("new")
    live = activated(root, monkeypatch)
    assert (live["nginx.conf"], live["https.conf"], live["access.conf"]) == ("new", "new", "new")
    assert "$scope" in live["accounts.conf"]
    # The operator's own lines wait for `up`.
    assert "override.conf" not in live


def test_a_renewed_certificate_changes_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for `up` must never keep it from being served."""
    go_live(root, nginx="old", authorize="old", accounts=OLD)
    (root / "nginx/https.conf").write_text("old")
    activated(root, monkeypatch)
    for name in ("nginx", "https", "access"):
        (root / f"nginx/{name}.conf").write_text("new")
    before = json.dumps(generations.content(root / "nginx/live"), default=bytes.decode)
    live = activated(root, monkeypatch)
    assert "access.conf" not in live
    assert json.dumps(generations.content(root / "nginx/live"), default=bytes.decode) == before


# Every zone that a version had, and its key: of 0.1 those of the first group.
ZONES = {
    "name": "$client_and_name", "logins": "$http_x_client", "pace": "$paced",
    "address": "$client", "gateway": "$gateway", "addresses": "$address",
    "checks-of-one": "$http_x_client", "checks-of-gateway": "$checked_gateway",
    "checks-of-addresses": "$checked_address",
    # Since the files in the order of a request's life.
    "passwords": "$client", "checks-of-client": "$client", "checks-behind-gateway": "$gateway",
    "checks-of-all": "$address", "asked-health": "$server_name",
}  # fmt: skip


def test_a_running_nginx_takes_the_zones_of_this_version() -> None:
    """A zone of a name that it has, with another key, is refused at a reload; `nginx -t` knows nothing of that."""
    text = "".join(path.read_text() for path in (HOME / "deploy/nginx").glob("*.j2"))
    ours = {name: key for key, name in re.findall(r"^ *limit_(?:req|conn)_zone (\S+) zone=([\w-]+):", text, re.M)}
    assert len(ours) > 5
    assert ours.items() <= ZONES.items()


def test_each_day_has_tokens_of_its_own_and_up_changes_nothing_meanwhile(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / layout.SECRETS).mkdir(parents=True)
    (root / f"nginx/{layout.PAGE_CONF}").write_text("# page: mode=on public=\n")
    monkeypatch.setattr(nginx, "_test", lambda _: None)
    monkeypatch.setattr(nginx, "nginx_container", lambda: "")
    day = [20_000]
    monkeypatch.setattr(time, "time", lambda: day[0] * 86400 + 5)

    def sessions() -> str:
        return wanted.wanted(root)[wanted.SESSIONS].decode()

    with pytest.raises(FileNotFoundError):
        wanted.wanted(root, make=False)
    go_live(root, page="# page: mode=on public=\n", sessions=sessions())
    assert (root / layout.PAGE_SECRET).stat().st_mode & 0o777 == 0o600
    assert (root / "nginx/live" / wanted.SESSIONS).stat().st_mode & 0o777 == 0o600
    first = sessions()
    assert "# day 20000\n" in first
    day[0] += 1
    # As it lies, so that a second bootstrap has nothing to do.
    assert sessions() == first
    nginx.new_day(str(root))
    assert "# day 20001\n" in (root / "nginx/live" / wanted.SESSIONS).read_text()
    assert sessions() == (root / "nginx/live" / wanted.SESSIONS).read_text() != first
    # Cron stood still for two days: no token of then counts.
    day[0] += 2
    assert "# day 20003\n" in sessions()
    # An account that changes keeps the day, and no other one's tokens change.
    before = sessions()
    (root / ACCOUNTS).write_text(f"anna:{HASH}\n# bert role=pull repositories=a/* changed=2026\nbert:{HASH}\n")
    tokens = [line for line in sessions().splitlines() if '"~^anna' in line]
    assert tokens == [line for line in before.splitlines() if '"~^anna' in line] != []
    # Without the secret nothing is settled; `up` makes another one, and all sessions end.
    (root / layout.PAGE_SECRET).unlink()
    assert tokens != [line for line in sessions().splitlines() if '"~^anna' in line]
