"""Which host each call of the Connect wire goes to, and with what (sheet §1–§3)."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from emulators.kimi_connect import KimiConnectEmulator
from kimi_proxy import __version__
from kimi_proxy.errors import ModelNotFound, TokenDead, TokenRejected
from kimi_proxy.providers.base import Lease
from kimi_proxy.providers.kimi_connect import KimiConnect
from kimi_proxy.providers.kimi_connect_call import hosts
from kimi_proxy.upstream import Exchange, Upstream
from tests.providers.fake_wire import Clock
from tests.providers.legacy_account import NOW, Notes, asking, scope

HOSTS = {
    "cn": ("https://www.kimi.com", "https://auth.kimi.com"),
    "overseas": ("https://www.kimi.ai", "https://auth.kimi.ai"),
}


class Detour(Upstream):
    """Takes calls to any host to the emulator, and remembers where they were sent."""

    def __init__(self, url: str) -> None:
        super().__init__([url])
        self._url = url
        self.asked: list[tuple[str, str]] = []

    def open(self, method: str, url: str, **options: Any) -> Exchange:
        parts = urlsplit(url)
        self.asked.append((f"{parts.scheme}://{parts.netloc}", parts.path))
        return super().open(method, self._url + parts.path, **options)


@pytest.fixture
def emulator() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as running:
        yield running


@pytest.fixture
def upstream(emulator: KimiConnectEmulator) -> Iterator[Detour]:
    detour = Detour(emulator.url)
    yield detour
    detour.close()


@pytest.fixture
def provider(upstream: Detour) -> KimiConnect:
    return KimiConnect(
        "kimi", upstream, hosts=hosts(), now=lambda: NOW, monotonic=time.monotonic
    )


@pytest.mark.parametrize("region", HOSTS)
def test_every_call_goes_to_the_host_that_issued_the_token(
    emulator: KimiConnectEmulator, upstream: Detour, provider: KimiConnect, region: str
) -> None:
    emulator.knobs.region = region
    pair = emulator.add_account("alice", region=region)
    api, auth = HOSTS[region]
    alice = provider.refresh(provider.read_token(pair.refresh), scope())
    emulator.faults.add("status", on="RefreshToken", status=404)
    alice = provider.refresh(alice, scope())
    assert upstream.asked == [
        (auth, "/api/account.gateway.v1.AuthService/RefreshToken"),
        (auth, "/api/account.gateway.v1.AuthService/RefreshToken"),
        (api, "/api/auth/token/refresh"),
    ]
    upstream.asked.clear()
    list(
        provider.stream(asking(model="k2d6-chat"), Lease("a", alice, scope(), Notes()))
    )
    provider.models(alice, scope())
    provider.check_token(alice, scope())
    provider.check_token(provider.read_token(pair.refresh), scope())
    for chat in emulator.chats():
        provider.delete_chat(alice, chat.id, scope())
    assert len(upstream.asked) == 5
    assert {host for host, _ in upstream.asked} == {api}


def test_the_other_regions_host_knows_no_such_token(
    emulator: KimiConnectEmulator, provider: KimiConnect
) -> None:
    emulator.knobs.region = "overseas"
    pair = emulator.add_account("alice", region="cn")
    alice = provider.read_token(f"{pair.access} {pair.refresh}")
    with pytest.raises(TokenRejected):
        provider.check_token(alice, scope())
    with pytest.raises(TokenDead):
        provider.refresh(alice, scope())


def test_an_unknown_model_is_looked_up_again_after_five_minutes(
    emulator: KimiConnectEmulator, upstream: Detour
) -> None:
    clock = Clock()
    provider = KimiConnect(
        "kimi", upstream, hosts=hosts(), now=lambda: NOW, monotonic=clock
    )
    alice = provider.read_token(emulator.add_account("alice").access)
    for clock.now, listings in ((0, 1), (300, 1), (301, 2)):
        lease = Lease("a", alice, scope(), Notes())
        with pytest.raises(ModelNotFound):
            next(provider.stream(asking(model="k9"), lease))
        assert len(emulator.log.of("GetAvailableModels")) == listings


@pytest.mark.parametrize("region", HOSTS)
def test_the_headers_are_those_of_the_sheet(
    emulator: KimiConnectEmulator, provider: KimiConnect, region: str
) -> None:
    pair = emulator.add_account("alice", region=region)
    alice = provider.read_token(f"{pair.access} {pair.refresh}")
    list(
        provider.stream(asking(model="k2d6-chat"), Lease("a", alice, scope(), Notes()))
    )
    provider.check_token(alice, scope())
    api = HOSTS[region][0]
    expected = {
        "connect-protocol-version": "1",
        "x-msh-platform": "web",
        "x-msh-version": "2.2.0",
        "x-msh-device-id": alice.device,
        "x-msh-session-id": alice.session,
        "x-traffic-id": alice.subject,
        "x-language": "en-US",
        "r-timezone": "Etc/UTC",
        "origin": api,
        "referer": f"{api}/",
        "user-agent": f"kimi-proxy/{__version__}",
    }
    chat, check = emulator.log.all()
    assert chat.headers["content-type"] == "application/connect+json"
    assert check.headers["content-type"] == "application/json"
    for call in (chat, check):
        assert call.headers.items() >= expected.items()
        assert call.token_kind == "access" and "cookie" not in call.headers


def test_the_newer_refresh_carries_no_more_than_it_needs(
    emulator: KimiConnectEmulator, provider: KimiConnect
) -> None:
    provider.refresh(provider.read_token(emulator.add_account("a").refresh), scope())
    (call,) = emulator.log.of("RefreshToken")
    assert call.headers["content-type"] == "application/json"
    assert call.headers["connect-protocol-version"] == "1"
    assert call.body.keys() == {"refresh_token"}
    assert not [name for name in call.headers if name.startswith("x-")]
