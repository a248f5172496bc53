"""The gateway that foreign clients are tried on, and the upstreams behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emulators.audit import Entry
from emulators.kimi_connect import KimiConnectEmulator
from emulators.openai import OpenAIEmulator
from tests.clients import model
from tests.clients.pages import serving_pages
from tests.http.conftest import KEY, PICKY, PROVIDERS, Served, scripted_process

# They may ask once a minute, so each is for one test.
NODE_ONCE, PAGE_ONCE = "kp-node-once-made-up-key", "kp-page-once-made-up-key"
WEB, API, PLAY = "kimi/k2d6-chat", "up/gpt-4o", "scripted/play"


@dataclass(frozen=True, slots=True)
class Stage:
    """A running gateway and its emulators; its models are `WEB`, `API` and `PLAY`.

    `pages` is a directory whose files are served at `origin`, the one origin whose
    pages may call the gateway.
    """

    gateway: Served
    web: KimiConnectEmulator
    api: OpenAIEmulator
    pages: Path
    origin: str

    @property
    def url(self) -> str:
        """The gateway's address, without `/v1`."""
        return f"http://127.0.0.1:{self.gateway.port}"

    def await_aborted(self, words: str) -> None:
        """Wait until the upstreams have seen that whoever asked this has left."""

        def left(entries: tuple[Entry, ...]) -> bool:
            asked = [entry for entry in entries if words in str(entry.body)]
            return all(entry.outcome == "aborted" for entry in asked)

        assert any(words in str(entry.body) for entry in self._asked())
        for upstream in (self.web, self.api):
            upstream.log.wait_for(left, 20)

    def _asked(self) -> tuple[Entry, ...]:
        return self.web.log.all() + self.api.log.all()

    def tries(self, tag: str) -> int:
        """How often the scripted provider was asked by this user."""
        return self.gateway.diary.words(tag).count("opened")


@contextmanager
def staged(directory: Path) -> Iterator[Stage]:
    """Start everything; in the end the gateway's log is looked through for secrets."""
    pages = directory / "pages"
    pages.mkdir()
    with (
        KimiConnectEmulator() as web,
        OpenAIEmulator() as api,
        serving_pages(pages) as origin,
    ):
        web.answer, api.answer = model.web, model.api
        config = {
            "keys": [
                {"name": "all", "key": KEY},
                {"name": "picky", "key": PICKY, "models": ["echo"]},
                {"name": "node", "key": NODE_ONCE, "rate": "1/minute"},
                {"name": "page", "key": PAGE_ONCE, "rate": "1/minute"},
            ],
            "providers": {**PROVIDERS, "kimi": _kimi(web), "up": _up(api)},
            "models": {"kimi": WEB, "claude-*": WEB},
            "relay": {"provider": "up"},
            "timeouts": {"hold": 0.5, "keep_alive": 0.2},
            "server": {"max_body": "4MiB", "cors_origins": [origin]},
        }
        with scripted_process(directory, config) as gateway:
            yield Stage(gateway, web, api, pages, origin)
        assert gateway.process is not None
        assert "Traceback" not in gateway.process.log_text()


def _kimi(web: KimiConnectEmulator) -> dict[str, object]:
    names = ("alice", "bob")
    return {
        "type": "kimi",
        "wire": "connect",
        "tokens": [{"name": n, "token": web.add_account(n).refresh} for n in names],
        "hosts": {"api": web.url, "auth": web.url},
    }


def _up(api: OpenAIEmulator) -> dict[str, object]:
    token = {"name": "main", "token": api.add_account("main")}
    return {"type": "openai", "base_url": api.base_url, "tokens": [token]}
