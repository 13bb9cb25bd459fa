"""`upgrade --check` and `pin`: names of images, versions, and what is written into the settings' file."""

from __future__ import annotations

import re

import pytest

from fabfile.settings import Settings
from fabfile.stack import news
from fabfile.stack.onhost import source, upgrades
from fabfile.stack.onhost.upgrades import Image
from fabfile.steps import pin, upgrade

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("registry:3.1", ("registry-1.docker.io", "library/registry", "3.1")),
        ("certbot/certbot:v5.8.0", ("registry-1.docker.io", "certbot/certbot", "v5.8.0")),
        ("docker.io/library/nginx", ("registry-1.docker.io", "library/nginx", "latest")),
        ("docker.io/nginx:1", ("registry-1.docker.io", "library/nginx", "1")),
        ("mirror.example.com/hub/library/nginx:1.30", ("mirror.example.com", "hub/library/nginx", "1.30")),
        ("localhost:5000/registry", ("localhost:5000", "registry", "latest")),
        (f"registry:3.1@{A}", ("registry-1.docker.io", "library/registry", "3.1")),
    ],
)
def test_where_an_image_is_asked_for(name: str, place: tuple[str, str, str]) -> None:
    assert source.place(name) == place


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("registry github.com/docker/distribution 2.8.3+ds1\n", [2, 8, 3]),
        ("registry github.com/distribution/distribution/v3 v3.1.1\n", [3, 1, 1]),
        ("nginx version: nginx/1.30.6\n", [1, 30, 6]),
        ("sh: not found", []),
    ],
)
def test_what_a_program_says_of_its_version(said: str, numbers: list[int]) -> None:
    assert upgrades._numbers(said) == numbers


def test_holes_are_those_of_later_versions_alone() -> None:
    known = {"nginx": {"fixes": {"1.30.9": ["A"], "1.30.10": ["B", "C"]}}}
    assert news.missing(known, "nginx", [1, 30, 9]) == {"1.30.10": ["B", "C"]}
    assert news.missing(known, "nginx", [1, 30, 8]) == {"1.30.9": ["A"], "1.30.10": ["B", "C"]}
    assert news.missing(known, "nginx", [1, 31, 0]) == {}
    assert news.missing(known, "nginx", []) == {}
    assert news.missing(known, "certbot", [1, 0, 0]) == {}


def test_the_list_that_is_carried_can_be_read() -> None:
    found = news.releases()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["as of"])
    for service in ("registry", "nginx"):
        versions = list(found[service]["fixes"])
        assert versions == sorted(versions, key=lambda text: [int(n) for n in text.split(".")])
        assert found[service]["source"].startswith("https://")
        assert all(
            re.fullmatch(r"CVE-\d{4}-\d{4,}", hole) for holes in found[service]["fixes"].values() for hole in holes
        )


def image(*digests: str) -> Image:
    return {"id": A, "named": "x", "digests": list(digests)}


@pytest.mark.parametrize(
    ("name", "digests", "there", "mark"),
    [
        ("registry:3.1", [f"registry@{A}"], A, "ok"),
        ("registry:3.1", [f"registry@{A}"], B, "warn"),
        ("registry:3.1", [], A, "warn"),
        (f"registry:3.1@{A}", [f"registry@{A}"], A, "ok"),
        (f"registry:3.1@{A}", [f"registry@{A}"], B, "warn"),
        ("registry:3.1", [f"registry@{A}"], "registry-1.docker.io does not answer: timed out", "warn"),
    ],
)
def test_what_is_newer(name: str, digests: list[str], there: str, mark: str) -> None:
    found = news._news("registry", name, image(*digests), [3, 9, 9], there, held=False)
    assert [line[0] for line in news.lines(found)] == [mark]


def test_what_to_do_about_a_newer_one() -> None:
    """A pin is not left by `upgrade`, and what was shipped cannot be compared."""

    def told(name: str, *digests: str, numbers: tuple[int, ...] = (3, 9, 9)) -> list[str]:
        return [text for _, text in news.lines(news._news("registry", name, image(*digests), numbers, B, held=False))]

    assert told("registry:3.1", f"registry@{A}")[0].endswith("is sha256:bbbbbbbbbbbb now: ./fab -H … upgrade")
    (pinned,) = told(f"registry:3.1@{A}", f"registry@{A}")
    assert pinned.endswith("take @sha256:… out of REGISTRY_IMAGE in .env, then ./fab -H … upgrade")
    assert "has no digest, so compare it yourself" in told("registry:3.1")[0]
    holes = told("registry:2", f"registry@{B}", numbers=(3, 1, 0))[1]
    assert re.match(r"3\.\d+\.\d+ closes \d+ holes that version 3\.1\.0 has, as of .*REGISTRY_IMAGE in \.env", holes)


def test_what_was_not_fetched_is_told_once_a_reason() -> None:
    why = "an image cannot be pulled: Error response from daemon: no such host"
    assert upgrade.not_fetched({"a:1": why, "b:2": why, "c:3": "docker pull: denied"}) == [
        "not fetched: a:1, b:2: no such host",
        "not fetched: c:3: docker pull: denied",
    ]


def test_pins_are_of_the_image_that_runs(settings: Settings) -> None:
    other = f"private-docker-registry/registry@{B}"
    pins, without = pin.pinned(
        settings,
        {"registry": image(other, f"registry@{A}"), "nginx": image(), "certbot": image(f"certbot/certbot@{B}")},
    )
    assert pins == {
        "REGISTRY_IMAGE": f"{settings.registry_image}@{A}",
        "CERTBOT_IMAGE": f"{settings.certbot_image}@{B}",
    }
    assert without == ["nginx"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A=1\nNGINX_IMAGE=old\nB=2\n", "A=1\nNGINX_IMAGE=new\nB=2\n"),
        ("# about it\n#NGINX_IMAGE=nginx:1.30\nB=2\n", "# about it\nNGINX_IMAGE=new\nB=2\n"),
        ("#NGINX_IMAGE=default\nNGINX_IMAGE=old\n", "#NGINX_IMAGE=default\nNGINX_IMAGE=new\n"),
        ("A=1", "A=1\nNGINX_IMAGE=new\n"),
        ("", "NGINX_IMAGE=new\n"),
    ],
)
def test_where_a_pin_is_written(before: str, after: str) -> None:
    assert pin.written(before, {"NGINX_IMAGE": "new"}) == after
    assert pin.written(after, {"NGINX_IMAGE": "new"}) == after
