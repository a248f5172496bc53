"""Ten steps of an agent in the manner of Codex, over an emulated Kimi web account."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from tests.http.codex import Agent
from tests.http.conftest import Build, House


def called(name: str, **arguments: Any) -> str:
    """A call as a web model writes it."""
    value = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{value}\n</tool_call>"


SUM = "def add(a, b):\n    return a - b  # 界\n"
TEST = "from sum import add\n\nassert add(1, 2) == 3\nprint('fine')\n"
RUN = ["python3", "-B", "test.py"]
# What the model says, turn after turn; each turn is a step of the agent.
SCRIPT = [
    "First a plan.\n" + called("update_plan", plan=[{"step": "look"}]),
    called("exec_command", cmd=["ls"]),
    called("write_file", input=f"sum.py\n{SUM}"),
    called("write_file", input=f"test.py\n{TEST}"),
    called("exec_command", cmd=RUN),
    "It fails, so I look.\n" + called("local_shell", command=["cat", "sum.py"]),
    called("exec_command", cmd=["cat", "sum.py"])
    + called("local_shell", command=["ls"]),
    called("write_file", input=f"sum.py\n{SUM.replace('-', '+')}"),
    called("exec_command", cmd=RUN),
    "All is fine: `add` adds now.",
]


class Model:
    """Says the script; `prompts` are what it was asked."""

    def __init__(self, thinking: str = "") -> None:
        self.prompts: list[str] = []
        self._thinking = thinking

    def __call__(self, prompt: str, request: Any) -> Answer:
        text = SCRIPT[len(self.prompts)]
        self.prompts.append(prompt)
        return Answer(text, thinking=self._thinking, pieces=5)


@pytest.fixture
def emulator() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as emulated:
        yield emulated


def gateway(build: Build, emulator: KimiConnectEmulator, mode: str) -> House:
    kimi = {
        "type": "kimi",
        "wire": "connect",
        "tokens": [{"name": "a", "token": emulator.add_account("a").refresh}],
        "hosts": dict.fromkeys(("api", "auth", "legacy"), emulator.url),
        "conversations": {"mode": mode},
    }
    return build(providers={"kimi": kimi})


def worked(
    build: Build, emulator: KimiConnectEmulator, model: Model, mode: str, place: Path
) -> Agent:
    """The agent after its ten steps."""
    place.mkdir()
    emulator.answer = model
    house = gateway(build, emulator, mode)
    agent = Agent(house.client, "kimi/k2d6-chat", place)
    assert agent.work("Make `add` work.") == SCRIPT[-1]
    assert len(agent.turns) == len(SCRIPT)
    assert (place / "sum.py").read_text() == SUM.replace("-", "+")
    return agent


@pytest.mark.parametrize("mode", ["stateless", "auto"])
def test_an_agent_does_its_work(
    build: Build, emulator: KimiConnectEmulator, tmp_path: Path, mode: str
) -> None:
    model = Model()
    agent = worked(build, emulator, model, mode, tmp_path / "work")
    results = [i["output"] for i in agent.history if i["type"].endswith("_output")]
    assert "exit 1" in results[4] and results[-1] == "exit 0\nfine\n"
    for number, result in enumerate(results[:-2]):
        assert result.strip().splitlines()[0] in "\n".join(model.prompts[number + 1 :])
    kinds = [call["type"] for turn in agent.turns for call in turn.calls]
    assert kinds.count("custom_tool_call") == 3
    assert kinds.count("local_shell_call") == 2
    assert [len(turn.calls) for turn in agent.turns] == [1] * 6 + [2, 1, 1, 0]


def test_a_chat_that_is_recognised_gets_the_new_turn_only(
    build: Build, emulator: KimiConnectEmulator, tmp_path: Path
) -> None:
    model = Model()
    worked(build, emulator, model, "auto", tmp_path / "work")
    assert "Make `add` work." in model.prompts[0]
    for prompt in model.prompts[1:]:
        assert "Make `add` work." not in prompt


def test_thinking_is_summed_up_and_goes_round(
    build: Build, emulator: KimiConnectEmulator, tmp_path: Path
) -> None:
    agent = worked(build, emulator, Model("Hm, 界."), "auto", tmp_path / "work")
    for turn in agent.turns:
        assert turn.thought == "Hm, 界."
        assert "reasoning_summary_text.delta" in turn.kinds
    kept = [i for i in agent.history if i["type"] == "reasoning"]
    assert len(kept) == len(SCRIPT)
    assert all(i["encrypted_content"] for i in kept)
