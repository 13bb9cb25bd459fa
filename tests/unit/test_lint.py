"""What `./inv lint` looks at besides Python leaves nothing out, and finds what is wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from fabfile.errors import StepError
from fabfile.settings import HOME, Settings
from tests import nginx
from tests.lint import configurations, scripts


def test_every_script_is_found() -> None:
    found = {str(path.relative_to(HOME)) for path in scripts.scripts(HOME)}
    assert {".ci/run", "deploy/inv", "fab", "inv", "tests/sandbox/images/machine/server"} <= found
    assert {str(path.relative_to(HOME)) for path in (HOME / "fabfile").rglob("*.sh")} <= found
    # Python, and what is no program.
    assert found.isdisjoint({"tests/sandbox/images/ca/proxy", "README.md"})


def test_a_script_that_is_wrong_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    (tmp_path / "wrong.sh").write_text("if [ $1 == a ]; then echo $unset; fi\n")
    monkeypatch.setattr(scripts, "HOME", tmp_path)
    with pytest.raises(StepError, match="shellcheck found something"):
        scripts.check()


def test_every_setting_of_a_template_is_among_the_choices() -> None:
    known = "".join(line.lower() for options in configurations.CHOICES.values() for line in options.values())
    for path in (HOME / "deploy/nginx").iterdir():
        for name in re.findall(r"\bsettings\.(\w+)", path.read_text()):
            # `names` are the domain and its aliases.
            wanted = {
                "names": "registry_aliases",
                "registry_domain": "registry_aliases",
                "on_s3": "storage",
                "answers_alike": "hosts",
                "fleet": "hosts",
            }.get(name, name)
            assert f"{wanted}=" in known, f"{path.name}: {name} is not tried"


def test_a_configuration_that_is_wrong_is_told_of(settings: Settings, tmp_path: Path) -> None:
    if not nginx.where():
        pytest.skip("there is no nginx: neither a program, nor the sandbox's image (./inv test makes it)")
    accounts = tmp_path / "accounts"
    accounts.write_text(configurations.ACCOUNTS)
    with nginx.place() as directory:
        nginx.write(directory / "good", settings, accounts)
        nginx.write(directory / "bad", settings, accounts, override="no_such_directive on;")
        told = nginx.refused(directory)
    assert list(told) == ["bad"]
    assert 'unknown directive "no_such_directive"' in told["bad"]
