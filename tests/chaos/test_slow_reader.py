"""A client that reads slowly gets everything and holds nobody else up."""

from __future__ import annotations

from pathlib import Path

from emulators.kimi_connect import Answer, KimiConnectEmulator
from tests.chaos.conftest import StartGateway
from tests.chaos.gateway import Gateway
from tests.chaos.waiting import eventually

LONG = "a piece of a very long answer, 很长的回答\n" * 250_000  # about 12 MB


def resident(gateway: Gateway) -> int:
    """Resident bytes of the only worker."""
    (pid,) = gateway.workers()
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_slow_reader_slows_the_upstream_down_and_nobody_else(
    connect: KimiConnectEmulator, start_gateway: StartGateway, worker_class: str
) -> None:
    connect.knobs.texts = "append"
    # Otherwise the kernel may take the whole of the answer, and nobody has to wait.
    connect.narrow(64 << 10)
    tokens = {name: connect.add_account(name).refresh for name in ("alice", "bob")}
    gateway = start_gateway(connect, tokens, worker_class=worker_class, workers=1)
    assert gateway.ask("warm up").status == 200
    before = resident(gateway)
    connect.answer = Answer(LONG, pieces=2000)
    with gateway.open("a lot", stream=True) as slow:
        slow.read_until(b"a piece")
        connect.answer = Answer("short")
        for number in range(5):
            assert gateway.ask(f"number {number}").text == "short"
        # All buffers are full: the upstream has to wait with the rest.
        entry = connect.log.of("Chat")[1]
        eventually(lambda: len(connect.running()) == 1)
        assert entry.closed_at is None
        assert resident(gateway) - before < 60 * 2**20
        reply = slow.reply()
    assert reply.text == LONG
    assert reply.done
