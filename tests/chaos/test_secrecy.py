"""No token and no key comes out of the gateway, even where the upstream echoes one.

The fixture `evidence` compares everything that any test here got out of a gateway, its
log at debug level included, with every secret; these tests see to it that there is
something to be found.
"""

from __future__ import annotations

from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.caller import Caller
from tests.chaos.conftest import StartGateway
from tests.chaos.evidence import Evidence
from tests.chaos.gateway import ADMIN_KEY, KEY, Gateway
from tests.chaos.waiting import eventually

PATHS = ("/", "/healthz", "/readyz", "/ping", "/metrics", "/v1/models", "/nowhere")


def test_a_secret_that_comes_out_is_found_whole_or_as_its_payload() -> None:
    token = "eyJmYWtl.eyJtYWRlIjoidXAifQ.made-up-signature"
    for said, found in (
        (b"all is well", []),
        (b"the key kp-made-up is wrong", ["here"]),
        (token.encode(), ["here"]),
        (b"claims eyJtYWRlIjoidXAifQ only", ["here"]),
    ):
        evidence = Evidence()
        evidence.plant(["kp-made-up", token])
        evidence.collect("here", said)
        assert list(evidence.leaks()) == found


def visit_everything(gateway: Gateway, evidence: Evidence, tokens: list[str]) -> None:
    """Ask every endpoint, with the right key, the admin's, a wrong one, and none."""
    wrong = "kp-made-up-key-that-nobody-knows"
    evidence.plant([wrong])
    for path in PATHS:
        for key in (KEY, ADMIN_KEY, wrong, None, tokens[0]):
            gateway.get(path, key)
    for token in tokens:
        gateway.check(token)
        gateway.check(f"kimi-auth={token}; theme=dark")
    for body in ({"model": tokens[0]}, {"model": "kimi", "messages": tokens}):
        with Caller(gateway.port) as caller:
            caller.send("POST", "/v1/chat/completions", key=KEY, body=body).reply()
        evidence.collect("answer to a bad request", caller.received)


def test_nothing_says_a_secret_even_if_the_upstream_echoes_it(
    connect: KimiConnectEmulator,
    start_gateway: StartGateway,
    evidence: Evidence,
    worker_class: str,
) -> None:
    pair = connect.add_account("alice")
    stranger = connect.add_account("stranger")
    pool = {"cooldown": 0.01, "max_cooldown": 0.01}
    gateway = start_gateway(
        connect,
        {"alice": pair.refresh},
        worker_class=worker_class,
        workers=1,
        pool=pool,
    )
    visit_everything(gateway, evidence, [pair.refresh, stranger.refresh])
    issued = list(connect.world.accounts._issued)
    for token in issued:
        echo = f"Bearer {token} is not welcome: {token}"
        for where in ("http", "trailer", "frame"):
            connect.faults.add("error", message=echo, reason=token, where=where)
            gateway.ask("hello", stream=where == "frame")
            connect.faults.add("error", message=echo, where=where, after_content=1)
            gateway.ask("hello", stream=True)
        connect.faults.add("status", status=500, body={"error": echo}, on="Chat")
        gateway.ask("hello")
        connect.faults.add("redirect", location=f"/login?token={token}", on="Chat")
        gateway.ask("hello")
        connect.faults.add("rpc_error", message=echo, on="DeleteChat")
        assert gateway.ask("hello").status in {200, 429, 503}
    connect.revoke("alice")
    gateway.ask("the account is dead")
    assert gateway.check(pair.refresh)["live"] is False
    eventually(lambda: gateway.log_says("token renewal"))


def test_legacy_nothing_says_a_secret_even_if_the_upstream_echoes_it(
    legacy: KimiLegacyEmulator, start_gateway: StartGateway, evidence: Evidence
) -> None:
    pair = legacy.add_account("alice")
    pool = {"cooldown": 0.01, "max_cooldown": 0.01}
    gateway = start_gateway(legacy, {"alice": pair.refresh}, pool=pool, workers=1)
    visit_everything(gateway, evidence, [pair.refresh, legacy.login("alice").refresh])
    for token in list(legacy.world.credentials._held):
        echo = f"Bearer {token} is not welcome: {token}"
        for place in ("create", "completion", "delete"):
            for status in (200, 400, 500):
                legacy.faults.add(
                    "refuse", message=echo, error_type=token, status=status, on=place
                )
                gateway.ask("hello")
        legacy.faults.add("error_event", message=echo, detail=token, at=1)
        gateway.ask("hello", stream=True)
    legacy.revoke("alice")
    gateway.ask("the account is dead")
    assert gateway.check(pair.refresh)["live"] is False
