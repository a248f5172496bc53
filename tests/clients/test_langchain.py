"""LangChain's standard tests of chat models, in three dialects, before two upstreams.

They run once, in their own environment; here each class of them is judged: nothing
fails, and nothing is left out but what is named.
"""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.clients.frameworks_house import SCRIPTS, frameworks, house

__all__ = ["frameworks"]

_SPEED = "test_stream_time"  # measures a recording, not a server
_SOUND = "test_audio_inputs"
# Sound goes to an API in OpenAI's own dialect only: Responses and Messages have no word
# for it, and Kimi's web takes none.
LEFT_OUT = {
    "TestChatApi": {_SPEED},
    "TestChatWeb": {_SPEED, _SOUND},
    "TestResponsesApi": {_SPEED, _SOUND},
    "TestResponsesWeb": {_SPEED, _SOUND},
    "TestMessagesApi": {_SPEED, _SOUND},
    "TestMessagesWeb": {_SPEED, _SOUND},
}
Results = dict[str, list[ElementTree.Element]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, frameworks: Path) -> Results:
    directory = tmp_path_factory.mktemp("langchain")
    report = directory / "report.xml"
    with house(directory) as opened:
        done = opened.run(
            *(frameworks, "-m", "pytest", SCRIPTS / "langchain_standard.py"),
            f"--junit-xml={report}",
            # No settings and no fixtures of this project's.
            *("-c", "/dev/null", "--noconftest", "-p", "no:cacheprovider"),
            # Connections are kept, so all tests share the loop that these belong to.
            *("--asyncio-mode=auto", "-o", "asyncio_default_test_loop_scope=session"),
            *("--timeout=60", "--tb=short"),
        )
    assert report.exists(), done.stdout + done.stderr
    found: Results = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - made here
        found.setdefault(case.attrib["classname"].rpartition(".")[2], []).append(case)
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", LEFT_OUT)
def test_every_standard_test_passes_but_what_cannot(
    results: Results, name: str
) -> None:
    cases = results[name]
    wrong = {
        case.attrib["name"]: "".join(problem.itertext())
        for case in cases
        for problem in case
        if problem.tag in {"failure", "error"}
    }
    assert not wrong, "\n".join(f"{n}:\n{why}" for n, why in wrong.items())
    skipped = {c.attrib["name"] for c in cases if c.find("skipped") is not None}
    assert skipped == LEFT_OUT[name]
    assert len(cases) > 45
