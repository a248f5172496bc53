"""After a few hundred requests in every kind of weather nothing has accumulated."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from emulators.kimi_connect import Answer, KimiConnectEmulator
from tests.chaos.conftest import StartGateway
from tests.chaos.gateway import Gateway
from tests.chaos.waiting import eventually, together

REQUESTS = 300
AT_A_TIME = 12
NAMES = ("alice", "bob", "carol", "dave")
WEATHER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("error", {"error": "overloaded_free"}),
    ("error", {"error": "concurrency", "where": "http", "retry_after": 0.05}),
    ("error", {"error": "session_in_progress"}),
    ("error", {"error": "internal", "after_content": 1}),
    ("error", {"error": "unauthenticated", "where": "http"}),
    ("exception", {"after_content": 1}),
    ("cut", {"after_frames": 3}),
    ("cut", {"at_byte": 700, "rst": True}),
    ("garbage", {"after_content": 1}),
    ("reset", {}),
    ("status", {"status": 503}),
)


def memory(gateway: Gateway) -> int:
    """Resident bytes of all workers."""
    pages = 0
    for pid in gateway.workers():
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def threads(gateway: Gateway) -> int:
    return sum(len(list(Path(f"/proc/{p}/task").iterdir())) for p in gateway.workers())


def sockets(gateway: Gateway) -> int:
    found = 0
    for pid in gateway.workers():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found += link.readlink().name.startswith("socket:")
            except OSError:
                continue  # Closed meanwhile.
    return found


def test_a_soak_in_mixed_weather_leaks_nothing(
    connect: KimiConnectEmulator, start_gateway: StartGateway, worker_class: str
) -> None:
    connect.knobs.generates_after_disconnect = 0
    connect.answer = lambda prompt, _: Answer(f"You said: {prompt}", delay=0.002)
    tokens = {name: connect.add_account(name).refresh for name in NAMES}
    pool = {"cooldown": 0.05, "max_cooldown": 0.1}
    gateway = start_gateway(connect, tokens, worker_class=worker_class, pool=pool)
    dice = random.Random(20260921)
    together(lambda n: gateway.ask(f"warm up {n}"), range(AT_A_TIME))
    eventually(lambda: not gateway.journal())
    before = memory(gateway), threads(gateway), sockets(gateway)

    def work(numbers: list[int]) -> None:
        for number in numbers:
            if dice.random() < 0.4:
                name, params = dice.choice(WEATHER)
                connect.faults.add(name, on="Chat", **params)
            with gateway.open(f"number {number}", stream=number % 2 == 0) as caller:
                if dice.random() < 0.2:
                    caller.leave()
                    continue
                reply = caller.reply()
            assert reply.error or reply.text == f"You said: number {number}"

    together(work, [list(range(n, REQUESTS, AT_A_TIME)) for n in range(AT_A_TIME)])
    connect.faults.clear()

    eventually(lambda: not connect.running())
    eventually(lambda: not connect.chats(), timeout=30)
    eventually(lambda: not gateway.journal())
    # One of them is the scrape itself.
    eventually(lambda: gateway.metric("kimi_proxy_open_requests") == 1)
    document = gateway.document("pool/kimi")
    assert document is not None
    assert (document["leases"], document["waiters"]) == ({}, [])
    eventually(lambda: threads(gateway) <= before[1] + 2 * AT_A_TIME)
    eventually(lambda: sockets(gateway) <= before[2] + 2 * AT_A_TIME)
    assert memory(gateway) - before[0] < 40 * 2**20
    assert not gateway.log_says("Traceback")
    assert gateway.ask("and on it goes").status == 200
