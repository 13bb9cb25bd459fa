"""Every command block of the documents is run, page by page, in order, as written, against the sandbox's server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import SERVER, blocks, english, name
from tests.sandbox.commands import ROOT
from tests.sandbox.demo import fab

from .world import World

RUN = [page for page in english() if any(not why for why, _ in blocks(page))]


@pytest.mark.parametrize("page", RUN, ids=name)
def test_every_block_does_what_it_says(deployed: World, page: Path) -> None:
    command = " ".join(fab(deployed.sandbox, deployed.settings))
    for why, text in blocks(page):
        if why:
            continue
        assert SERVER in text
        script = text.replace(SERVER, command)
        done = subprocess.run(["sh", "-ec", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
