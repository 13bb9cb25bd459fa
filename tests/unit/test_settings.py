"""One line a rule: what a `.env` may say, and what is refused with file, line and key (A1, A2)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from fabfile.certificate.cron import schedule
from fabfile.errors import UsageError
from fabfile.names import mirrored
from fabfile.rules import PEM_FILES, RULES, user_name
from fabfile.secret import SECRET_FILES, eab_key, s3_keys
from fabfile.settings import HOSTS, SCHEMA, Settings, dump, hosts, load

from .conftest import MANDATORY

Write = Callable[[str], Path]


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as error:
        load(path)
    return str(error.value)


def test_the_schema_the_dataclass_and_the_rules_know_the_same_keys() -> None:
    documented = set(re.findall(r"^#?([A-Z0-9_]+)=", SCHEMA.read_text(), re.M))
    # HOSTS is for the command line of this machine, and no part of what a server is.
    assert documented - {HOSTS} == {field.name.upper() for field in fields(Settings)}
    assert documented == {*RULES, *PEM_FILES, *SECRET_FILES}


@pytest.mark.parametrize(
    "value",
    ["", "root@registry.example.com", "registry.example.com", "root@192.0.2.1:2222", "root@2001:db8::1", "my_vps"],
)
def test_hosts_names_the_server_of_the_command_line(env_file: Write, value: str) -> None:
    path = env_file(f"HOSTS={value}\n")
    assert hosts(path) == value
    # It does not travel: another name of the server changes nothing there.
    assert HOSTS not in dump(load(path))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://registry.example.com", "without https://"),
        ("root@a,root@b", "one server"),
        ("root@a root@b", "one server"),
        ("-oProxyCommand=x", "USER@NAME"),
        ("root@", "USER@NAME"),
    ],
)
def test_what_hosts_may_not_say(env_file: Write, value: str, expected: str) -> None:
    path = env_file(f"HOSTS={value}\n")
    assert expected in refused(path)
    with pytest.raises(UsageError, match=f"{path}:4: HOSTS: .* is not allowed"):
        hosts(path)


def test_without_a_file_hosts_names_nobody(tmp_path: Path) -> None:
    assert hosts(tmp_path / ".env") == ""


@pytest.mark.parametrize("value", ["192.0.2.1", "2001:db8::1", "[2001:db8::1]"])
def test_an_address_is_no_name_and_the_value_stands_there_once(env_file: Write, value: str) -> None:
    path = env_file("")
    path.write_text(path.read_text().replace("registry.example.org", value))
    said = refused(path)
    assert "An IP address is none: give yours a name" in said
    assert said.count(value) == 1


def test_at_most_four_settings_are_mandatory() -> None:
    assert len(re.findall(r"^[A-Z0-9_]+=", SCHEMA.read_text(), re.M)) <= 4


def test_defaults_come_from_the_schema(settings: Settings) -> None:
    assert settings.deploy_dir == "/docker-registry"
    assert settings.acme_directory == "https://acme-v02.api.letsencrypt.org/directory"
    assert settings.rehearsal == "https://acme-staging-v02.api.letsencrypt.org/directory"
    assert settings.pauses == [60, 600, 6000, 86400]
    assert settings.names == ("registry.example.org",)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("SERVER_ADDRESSES=192.0.2.1, 2001:DB8::1", ("192.0.2.1", "2001:db8::1")),
        ("REGISTRY_ALIASES=a.example.com b.example.com", ("a.example.com", "b.example.com")),
        ("REGISTRY_ALIASES='a.example.com, b.example.com'", ("a.example.com", "b.example.com")),
        ("DEPLOY_DIR=/srv/registry/", "/srv/registry"),
        ('DEPLOY_DIR="/srv/registry"  # a comment', "/srv/registry"),
        ("  export DEPLOY_DIR = /srv/registry", "/srv/registry"),
        ("RENEW_SCHEDULE='*/5  * * * 1-5'", "*/5 * * * 1-5"),
        ("ACME_PREFERRED_CHAIN=ISRG Root X1", "ISRG Root X1"),
        ("METRICS=on", "on"),
        ("METRICS=off", ""),
        ("EVENT_COMMAND=curl -K /root/events.curl", "curl -K /root/events.curl"),
        ("BACKUP_TO=/mnt/backup/", "/mnt/backup"),
        ("BACKUP_COMMAND=restic backup .", "restic backup ."),
        ("BACKUP_SCHEDULE='30 22 * * 1-5'", "30 22 * * 1-5"),
        ("BACKUP_KEEP=30", 30),
        ("STANDBY=root@b.example.com", "root@b.example.com"),
        ("HSTS_MAX_AGE=63072000", 63072000),
        ("CLIENT_PAUSE=60", 60),
        ("ACME_SERVER=https://[::1]:14000/dir", "https://[::1]:14000/dir"),
        ("IMAGE_MIRROR=mirror.example.com/hub/", "mirror.example.com/hub"),
        ("IMAGE_MIRROR=127.0.0.1:5000", "127.0.0.1:5000"),
        (
            "NGINX_IMAGE=mirror.example.com:5000/library/nginx:1.30",
            "mirror.example.com:5000/library/nginx:1.30",
        ),
    ],
)
def test_accepted(env_file: Write, line: str, value: object) -> None:
    key = re.findall(r"[A-Z_]{2,}", line)[0]
    assert getattr(load(env_file(line + "\n")), key.lower()) == value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("SERVER_ADDRESSES='192.0.2.1 example.com'", "IP addresses"),
        ("REGISTRY_ALIASES=https://a.example.com", "no https://"),
        ("REGISTRY_ALIASES=a.example.com:5000", "no port"),
        ("REGISTRY_ALIASES=localhost", "full domain name"),
        ("REGISTRY_ALIASES=192.0.2.1", "full domain name"),
        ("REGISTRY_ALIASES=реестр.рф", "xn--e1aa5aceg.xn--p1ai"),
        ("REGISTRY_ALIASES='a.example.com;reboot'", "full domain name"),
        ("DEPLOY_DIR=registry", "absolute path"),
        ("DEPLOY_DIR=/", "absolute path"),
        ("DEPLOY_DIR=/etc", "belongs to the system"),
        ("DEPLOY_DIR=/usr/local/registry", "belongs to the system"),
        ("DEPLOY_DIR=/srv", "belongs to the system"),
        ("REGISTRY_ALIASES=registry.example.com", "this is the example"),
        ("DEPLOY_DIR=/srv/../etc", "absolute path"),
        ("DEPLOY_DIR='/srv/my registry'", "absolute path"),
        ("DEPLOY_DIR=/srv/$(reboot)", "absolute path"),
        ("DEPLOY_DIR=/srv/100%", "absolute path"),
        ("ACME_SERVER=http://acme.example.com/dir", "https://"),
        ("ACME_SERVER=live", "staging, production"),
        ("ACME_CA_BUNDLE=missing.pem", "there is none at"),
        ("ACME_CA_BUNDLE=.env", "PEM"),
        ("RENEW_SCHEDULE=@daily", "five fields"),
        ('ALERT_COMMAND=mail -s "registry #1" me@example.com', "not closed"),
        ("RENEW_SCHEDULE='60 * * * *'", "five fields"),
        ("RENEW_SCHEDULE='* 24 * * *'", "five fields"),
        ("RENEW_SCHEDULE='* * 0 * *'", "five fields"),
        ("RENEW_SCHEDULE='* * * * 5-1'", "five fields"),
        ("RENEW_SCHEDULE='*/0 * * * *'", "five fields"),
        ("RENEW_SCHEDULE='17 0/12 * * *'", "five fields"),
        ("RENEW_SCHEDULE='* * * *'", "five fields"),
        ("RENEW_SCHEDULE='* * * * * root reboot'", "five fields"),
        ("ACME_PREFERRED_CHAIN=--test-cert", "common name of a root"),
        ("METRICS=yes", "on or off"),
        ("EVENT_COMMAND=curl 'open", "not closed"),
        ("BACKUP_TO=backup", "absolute path"),
        ("BACKUP_TO=/usr/backup", "belongs to the system"),
        ("BACKUP_COMMAND=restic 'backup", "not closed"),
        ("BACKUP_SCHEDULE=@daily", "five fields"),
        ("BACKUP_KEEP=0", "from 1 on"),
        ("STANDBY=https://b.example.com", "without https"),
        ("HSTS_MAX_AGE=a year", "seconds"),
        ("CLIENT_PAUSE=59", "from 60 to 86400"),
        ("CLIENT_PAUSE=1h", "from 60 to 86400"),
        ("NGINX_IMAGE='nginx:1 --privileged'", "name of an image"),
        ("IMAGE_MIRROR=https://mirror.example.com", "a host and maybe a path"),
        ("IMAGE_MIRROR=mirror", "a host and maybe a path"),
    ],
)
def test_refused_with_file_line_and_key(env_file: Write, line: str, words: str) -> None:
    path = env_file(f"# a comment\n\n{line}\n")
    message = refused(path)
    assert message.startswith(f"{path}:6: {line.partition('=')[0]}: ")
    assert words in message


def test_unknown_key_is_refused_with_the_nearest(env_file: Write) -> None:
    path = env_file("DEPLOY_DIRECTORY=/srv\n")
    assert refused(path) == f"{path}:4: DEPLOY_DIRECTORY: unknown key\n  -> did you mean DEPLOY_DIR?"


def test_duplicate_key_is_refused(env_file: Write) -> None:
    assert ":4: REGISTRY_USER: stands here a second time" in refused(env_file("REGISTRY_USER=b\n"))


def test_missing_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("REGISTRY_DOMAIN=registry.example.org\nREGISTRY_USER=a\n")
    assert "ACME_EMAIL is missing" in refused(path)


def test_missing_file_says_what_to_copy(tmp_path: Path) -> None:
    assert "cp .env.dist .env" in refused(tmp_path / ".env")


@pytest.mark.parametrize(
    "line",
    [
        f"{'A' * 1_000_000}=1",
        f"HSTS_MAX_AGE={'9' * 1_000_000}",
        f"ALERT_COMMAND={'a' * 1_000_000}",
        f"ACME_CA_BUNDLE={'a' * 9000}",
        f"{'word ' * 200_000}",
        "ACME_CA_BUNDLE=~nobody-of-that-name/ca.pem",
        "HSTS_MAX_AGE=\x1b[2J\x07",
        "\x1b]0;title\x07=1",
        "two \x1b[31m words",
        "HSTS_MAX_AGE='a\nb'",
    ],
)
def test_what_is_wrong_does_nothing_to_a_terminal(env_file: Write, line: str) -> None:
    """Neither megabytes nor escape sequences; and it is one line with one remedy."""
    message = refused(env_file(f"{line}\n"))
    assert len(message) < 2000
    assert not any(ord(character) < 32 and character != "\n" for character in message)
    assert message.count("\n") == 1


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "this is no ordinary file" in refused(tmp_path / "pipe")
    assert "this is a directory" in refused(tmp_path)


def test_utf_16_without_a_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("REGISTRY_DOMAIN=a\n".encode("utf-16-le"))
    assert ".env:1: not UTF-8 text" in refused(tmp_path / ".env")


@pytest.mark.parametrize("line", ["REGISTRY_ALIASES", "=value", "two words", "KEY='open"])
def test_a_line_that_is_no_setting_is_refused(env_file: Write, line: str) -> None:
    assert ":4: cannot read" in refused(env_file(f"{line}\n"))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(MANDATORY.encode() + b"REGISTRY_ALIASES=\xff\n")
    assert f"{path}:4: not UTF-8" in refused(path)


def test_bom_and_crlf_change_nothing(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"\xef\xbb\xbf" + MANDATORY.replace("\n", "\r\n").encode())
    assert load(path) == settings


def test_nothing_is_expanded(env_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/srv")
    assert "'${WHERE}/x' is not allowed" in refused(env_file("DEPLOY_DIR=${WHERE}/x\n"))


def test_dump_is_read_back_as_the_same(env_file: Write, tmp_path: Path) -> None:
    settings = load(
        env_file(
            "REGISTRY_ALIASES=a.example.com b.example.com\nHSTS_MAX_AGE=5\n"
            """ALERT_COMMAND='echo "it\\'s $HOME #1 \\\\ ${X} привет"'\n"""
        )
    )
    assert settings.alert_command == """echo "it's $HOME #1 \\ ${X} привет\""""
    copy = tmp_path / "copy.env"
    copy.write_text(dump(settings))
    assert load(copy) == settings


def test_the_minute_of_the_schedule_differs_between_domains(env_file: Write) -> None:
    text = MANDATORY.replace("registry.example.org", "{}")
    path = env_file("")
    minutes = set()
    for name in ("a.example.com", "b.example.com", "c.example.com"):
        path.write_text(text.format(name))
        minutes.add(schedule(load(path)))
    assert len(minutes) == 3
    for each in minutes:
        minute, hours, *rest = each.split()
        first, second = map(int, hours.split(","))
        assert 0 < int(minute) < 60
        assert second == first + 12 < 24
        assert rest == ["*", "*", "*"]


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "a\nb", "-a", "a'b", "$(id)", "a/b", "имя", "push-test-1", "a" * 65]
)
def test_user_names_that_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected|belong"):
        user_name(name)


@pytest.mark.parametrize("name", ["ci", "Anna.K", "team-a_ci@example.com", "a" * 64])
def test_user_names_that_are_taken(name: str) -> None:
    assert user_name(name) == name


@pytest.mark.parametrize(
    ("name", "at_the_mirror"),
    [
        ("registry:3.1.2", "m.example:5000/hub/library/registry:3.1.2"),
        ("certbot/certbot:v5", "m.example:5000/hub/certbot/certbot:v5"),
        ("docker.io/library/nginx:1", "m.example:5000/hub/library/nginx:1"),
        ("docker.io/nginx:1", "m.example:5000/hub/library/nginx:1"),
        ("quay.io/a/b:1", "quay.io/a/b:1"),
        ("localhost/a:1", "localhost/a:1"),
        ("host:5000/a", "host:5000/a"),
    ],
)
def test_a_mirror_stands_in_for_docker_hub_alone(name: str, at_the_mirror: str) -> None:
    assert mirrored(name, "m.example:5000/hub") == at_the_mirror
    assert mirrored(name, "") == name


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("c2VjcmV0LXNlY3JldC1rZXk\n", 0o600, ""),
        ("c2VjcmV0LXNlY3JldC1rZXk=\r\n", 0o400, ""),
        ("eab-hmac-key = c2VjcmV0LXNlY3JldC1rZXk\n", 0o600, ""),
        ("c2VjcmV0LXNlY3JldC1rZXk\n", 0o640, "others can read the key in it: chmod 600"),
        ("c2VjcmV0LXNlY3JldC1rZXk", 0o604, "others can read"),
        ("kid c2VjcmV0LXNlY3JldC1rZXk", 0o600, "the HMAC key alone"),
        ("", 0o600, "the HMAC key alone"),
        ("c2VjcmV0\nserver = x", 0o600, "the HMAC key alone"),
    ],
)
def test_the_key_of_an_authority_is_in_a_file_of_our_own(
    env_file: Write, tmp_path: Path, content: str, mode: int, words: str
) -> None:
    """What it holds reaches certbot as a line of a configuration, and never a message."""
    key = tmp_path / "eab.key"
    key.write_text(content)
    key.chmod(mode)
    text = "ACME_EAB_KID=kid-1\nACME_EAB_HMAC_FILE=eab.key\n"
    if not words:
        settings = load(env_file(text))
        assert settings.acme_eab_hmac_file == str(key)
        assert eab_key(key.read_text()) == "c2VjcmV0LXNlY3JldC1rZXk"
        return
    with pytest.raises(UsageError) as refused:
        load(env_file(text))
    assert words in refused.value.remedies[0]
    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize("line", ["BACKUP_TO=/docker-registry", "DEPLOY_DIR=/srv/a\nBACKUP_TO=/srv/a/copies"])
def test_copies_do_not_lie_beside_what_they_are_of(env_file: Write, line: str) -> None:
    with pytest.raises(UsageError, match="BACKUP_TO lies in DEPLOY_DIR"):
        load(env_file(f"{line}\n"))
    assert load(env_file("BACKUP_TO=/docker-registry-copies\n")).backup_to == "/docker-registry-copies"


@pytest.mark.parametrize("line", ["ACME_EAB_KID=kid-1", "ACME_EAB_HMAC_FILE={file}"])
def test_both_parts_of_a_key_or_none(env_file: Write, tmp_path: Path, line: str) -> None:
    file = tmp_path / "eab.key"
    file.touch(mode=0o600)
    file.write_text("c2VjcmV0LXNlY3JldC1rZXk")
    with pytest.raises(UsageError) as refused:
        load(env_file(line.format(file=file)))
    assert "belong together" in str(refused.value)


STORE = "STORAGE=s3\nS3_ENDPOINT={endpoint}\nS3_BUCKET=images\nS3_KEY_FILE=keys\n"
AS_AWS = "[default]\naws_access_key_id = AKID\naws_secret_access_key = abc/+=\n"


def keys(tmp_path: Path, content: str = "AKID\nabc/+=\n", mode: int = 0o600) -> None:
    (tmp_path / "keys").write_text(content)
    (tmp_path / "keys").chmod(mode)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("https://s3.eu-central-1.amazonaws.com", ""),
        ("https://192.0.2.1:7480", ""),
        ("http://10.0.0.1:7480", ""),
        ("http://ceph:7480", ""),
        ("http://ceph.internal", ""),
        ("http://s3.example.com", "expected https://"),
        ("s3.example.com", "without the bucket"),
        ("https://s3.example.com/images", "without the bucket"),
        ("https://key:secret@s3.example.com", "without the bucket"),
        ("https://registry.example.org", "below REGISTRY_DOMAIN"),
        ("https://s3.registry.example.org", "below REGISTRY_DOMAIN"),
        ("", "needs S3_ENDPOINT"),
    ],
)
def test_where_a_store_may_be(env_file: Write, tmp_path: Path, endpoint: str, words: str) -> None:
    keys(tmp_path)
    path = env_file(STORE.format(endpoint=endpoint))
    if words:
        assert words in refused(path)
    else:
        settings = load(path)
        assert (settings.on_s3, settings.s3_endpoint) == (True, endpoint)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("AKID\nabc/+=\n", 0o600, ""),
        (AS_AWS, 0o600, ""),
        (f"# mine\n{AS_AWS}[other]\naws_access_key_id = X\n", 0o600, ""),
        ("AKID\nabc/+=\n", 0o640, "chmod 600"),
        ("AKID abc/+=\n", 0o600, "two lines"),
        ("AKID\n", 0o600, "two lines"),
        ("[default]\naws_access_key_id = AKID\n", 0o600, "two lines"),
    ],
)
def test_the_keys_of_a_store_are_in_a_file_of_our_own(
    env_file: Write, tmp_path: Path, content: str, mode: int, words: str
) -> None:
    keys(tmp_path, content, mode)
    path = env_file(STORE.format(endpoint="https://s3.example.com"))
    if not words:
        assert s3_keys(Path(load(path).s3_key_file).read_text()) == AS_AWS
        return
    told = refused(path)
    assert words in told
    assert "abc/" not in told
    assert "AKID" not in told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("S3_REGION=EU", "region"),
        ("S3_BUCKET=Images", "bucket"),
        ("S3_PREFIX=a/../b", "path"),
        ("BLOB_CACHE=10m", "256m"),
        ("BLOB_CACHE=10", "256m"),
        ("STORAGE=nfs", "disk or s3"),
        ("S3_ADDRESSING=auto", "path or host"),
        ("BLOBS=proxy", "cache or redirect"),
    ],
)
def test_what_the_settings_of_a_store_may_not_say(env_file: Write, line: str, words: str) -> None:
    assert words in refused(env_file(f"{line}\n"))


def test_the_settings_of_a_store(env_file: Write) -> None:
    settings = load(env_file("S3_PREFIX=/one/two/\nBLOB_CACHE=2T\n"))
    assert (settings.on_s3, settings.s3_prefix, settings.blob_cache) == (False, "one/two", "2048g")
