"""Anthropic's TypeScript SDK, unmodified, against the running gateway."""

import pytest

from tests.clients import nodejs
from tests.clients.stage import Stage
from tests.http.conftest import KEY, PICKY


@pytest.mark.usefixtures("node_packages")
@pytest.mark.timeout(180)
def test_messages_and_all_around_them(stage: Stage) -> None:
    nodejs.run("anthropic.mjs", stage.url, KEY, PICKY)
    stage.await_aborted("count slowly, Anthropic")
    assert stage.tries("ts-busy") == 3
    assert stage.tries("ts-hopeless") == 1
