"""What a full disk leaves in certbot's directory, and what becomes of it; accounts of ACME servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fabfile.certificate.onhost import acme_accounts, half_made
from fabfile.stack.onhost import lineage
from tests.nginx import pair

NAME, SERVER = "a.test", "https://acme.test:14000/dir"


def certbot(root: Path, *numbers: int) -> Path:
    """certbot's directory, as it leaves it after so many certificates."""
    conf = root / "certbot/conf"
    for part in (f"live/{NAME}", f"archive/{NAME}", "renewal"):
        (conf / part).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        certificate, key = pair()
        for part in half_made.PARTS:
            text = key if part == "privkey" else certificate
            (conf / f"archive/{NAME}/{part}{number}.pem").write_text(text)
            link = conf / f"live/{NAME}/{part}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../archive/{NAME}/{part}{number}.pem")
    (conf / f"renewal/{NAME}.conf").write_text("archive_dir = …\n")
    return conf


def repaired(root: Path) -> str:
    assert half_made.untidy(str(root), NAME)
    return half_made.tidied(str(root), NAME)


@pytest.mark.parametrize("part", half_made.PARTS)
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERT"])
def test_an_earlier_certificate_that_is_whole_is_the_newest_again(
    tmp_path: Path, part: str, content: bytes | None
) -> None:
    conf = certbot(tmp_path, 1, 2)
    file = conf / f"archive/{NAME}/{part}2.pem"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    if part == "chain" and content is not None:
        # Of a chain nothing is asked: fullchain.pem is what nginx gets.
        assert not half_made.untidy(str(tmp_path), NAME)
        return
    assert "certificate 1 is the newest again" in repaired(tmp_path)
    assert lineage.damage(str(conf), NAME) == ""
    for each in half_made.PARTS:
        assert str((conf / f"live/{NAME}/{each}.pem").readlink()) == f"../../archive/{NAME}/{each}1.pem"
    have = lineage.on_disk(str(conf / f"live/{NAME}"), "")
    assert have
    assert "broken" not in have
    # Moved, not deleted; and done once.
    assert len(list(conf.glob("old/*/*2.pem"))) == 4 - (content is None)
    assert not half_made.untidy(str(tmp_path), NAME)


@pytest.mark.parametrize("gone", ["live", "archive", "renewal", "content", "key"])
def test_a_first_order_that_was_left_half_made_is_moved_aside(tmp_path: Path, gone: str) -> None:
    conf = certbot(tmp_path, 1)
    if gone == "content":
        (conf / f"archive/{NAME}/fullchain1.pem").write_text("")
    elif gone == "key":
        (conf / f"archive/{NAME}/privkey1.pem").write_text("")
    else:
        # As if it had never come so far.
        for part in ("live", "archive"):
            for file in (conf / part / NAME).iterdir():
                file.unlink()
        if gone == "renewal":
            (conf / f"renewal/{NAME}.conf").write_text("")
        else:
            (conf / gone / NAME).rmdir()
    assert "left half made: moved to certbot/conf/old/" in repaired(tmp_path)
    for part in ("live", "archive"):
        assert not (conf / part / NAME).exists()
    assert not (conf / f"renewal/{NAME}.conf").exists()
    assert not half_made.untidy(str(tmp_path), NAME)


def test_what_may_be_lost_is_left_to_a_person(tmp_path: Path) -> None:
    """A whole certificate that certbot does not know: moved only when nginx has it."""
    conf = certbot(tmp_path, 1)
    (conf / f"renewal/{NAME}.conf").write_text("")
    assert repaired(tmp_path) == ""
    assert (conf / f"archive/{NAME}/cert1.pem").exists()
    live = tmp_path / "nginx/live/tls"
    live.mkdir(parents=True)
    for name in lineage.PAIR:
        (live / name).write_bytes((conf / f"live/{NAME}/{name}").read_bytes())
    assert "moved to" in repaired(tmp_path)


def test_a_copy_that_followed_the_links_is_left_to_a_person(tmp_path: Path) -> None:
    conf = certbot(tmp_path, 1)
    for part in half_made.PARTS:
        link = conf / f"live/{NAME}/{part}.pem"
        text = link.read_text()
        link.unlink()
        link.write_text(text)
    assert repaired(tmp_path) == ""
    assert "is no link" in lineage.damage(str(conf), NAME)


def test_nothing_is_done_where_all_is_well(tmp_path: Path) -> None:
    assert not half_made.untidy(str(tmp_path), NAME)
    certbot(tmp_path, 1, 2, 3)
    assert not half_made.untidy(str(tmp_path), NAME)
    assert half_made.tidied(str(tmp_path), NAME) == ""
    assert half_made.no_room(str(tmp_path)) == ""


def account(conf: Path, name: str, made: str, server: str = "acme.test:14000/dir") -> Path:
    place = conf / "accounts" / server / name
    place.mkdir(parents=True)
    for part in acme_accounts.PARTS:
        (place / part).write_text(json.dumps({"creation_dt": made}))
    return place


def test_the_account_of_the_certificate_is_chosen_else_the_newest(tmp_path: Path) -> None:
    conf = str(tmp_path)
    assert acme_accounts.chosen(conf, SERVER, NAME) == ""
    account(tmp_path, "aaa", "2026-01-01T00:00:00Z")
    account(tmp_path, "bbb", "2025-01-01T00:00:00Z")
    account(tmp_path, "ccc", "2027-01-01T00:00:00Z", "elsewhere.test/dir")
    assert acme_accounts.known(conf, SERVER) == ["bbb", "aaa"]
    assert acme_accounts.chosen(conf, SERVER, NAME) == "aaa"
    (tmp_path / "renewal").mkdir()
    for named, expected in (("bbb", "bbb"), ("ccc", "aaa"), ("../x", "aaa")):
        (tmp_path / f"renewal/{NAME}.conf").write_text(f"[renewalparams]\naccount = {named}\nserver = x\n")
        assert acme_accounts.chosen(conf, SERVER, NAME) == expected


def test_an_account_of_no_use_is_moved_and_never_deleted(tmp_path: Path) -> None:
    account(tmp_path, "aaa", "2026-01-01T00:00:00Z")
    (account(tmp_path, "bbb", "2026-01-02T00:00:00Z") / "regr.json").write_text("")
    (account(tmp_path, "ccc", "2026-01-03T00:00:00Z") / "private_key.json").unlink()
    moved = acme_accounts.set_damaged_aside(str(tmp_path), SERVER)
    assert sorted(place.partition("-")[0] for place in moved) == ["forgotten/bbb", "forgotten/ccc"]
    assert all((tmp_path / place / "meta.json").is_file() for place in moved)
    assert acme_accounts.known(str(tmp_path), SERVER) == ["aaa"]
    assert acme_accounts.set_aside(str(tmp_path), SERVER, "nobody") == ""
    assert acme_accounts.set_aside(str(tmp_path), SERVER, "../aaa") == ""


def test_no_link_leads_root_out_of_it(tmp_path: Path) -> None:
    outside = account(tmp_path / "outside", "aaa", "2026-01-01T00:00:00Z").parent
    (tmp_path / "conf/accounts/acme.test:14000").mkdir(parents=True)
    (tmp_path / "conf/accounts/acme.test:14000/dir").symlink_to(outside)
    assert acme_accounts.known(str(tmp_path / "conf"), SERVER) == []
    assert acme_accounts.set_aside(str(tmp_path / "conf"), SERVER, "aaa") == ""
    assert (outside / "aaa").is_dir()


@pytest.mark.parametrize(
    ("said", "unknown"),
    [
        ("An unexpected error occurred:\nAccount https://acme.test:14000/my-account/7 not found.", True),
        ("urn:ietf:params:acme:error:accountDoesNotExist :: No account exists", True),
        ("Account at /etc/letsencrypt/accounts/acme.test/dir/aaa does not exist", True),
        ('urn:ietf:params:acme:error:unauthorized :: Account is not valid, has status "deactivated"', True),
        ("urn:ietf:params:acme:error:rateLimited :: too many accounts", False),
        ("No TXT record found at _acme-challenge.account.test", False),
    ],
)
def test_words_for_an_account_that_is_not_known(said: str, unknown: bool) -> None:
    assert bool(acme_accounts.UNKNOWN.search(said)) is unknown
