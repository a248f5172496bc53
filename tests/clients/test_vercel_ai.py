"""The Vercel AI SDK, unmodified, by each of its providers that fits."""

import pytest

from tests.clients import nodejs
from tests.clients.stage import Stage
from tests.http.conftest import KEY


@pytest.mark.usefixtures("node_packages")
@pytest.mark.timeout(180)
def test_every_provider_on_every_upstream(stage: Stage) -> None:
    nodejs.run("vercel_ai.mjs", stage.url, KEY)
    stage.await_aborted("count slowly, AI SDK")
