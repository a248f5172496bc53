"""The official anthropic client against the running gateway."""

import pytest

from tests.http import anthropic_checks
from tests.http.conftest import Served


def tries(served: Served, tag: str) -> int:
    return served.diary.words(tag).count("opened")


@pytest.mark.timeout(180)
def test_the_current_client(under_gunicorn: Served) -> None:
    before = tries(under_gunicorn, "messages-retries-busy")
    hopeless = tries(under_gunicorn, "messages-retries-hopeless")
    anthropic_checks.run(f"http://127.0.0.1:{under_gunicorn.port}", 30)
    assert tries(under_gunicorn, "messages-retries-busy") == before + 3
    assert tries(under_gunicorn, "messages-retries-hopeless") == hopeless + 1
