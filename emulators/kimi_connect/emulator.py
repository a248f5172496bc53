"""The emulator itself: its routes, its accounts, its control over HTTP."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, Self

from emulators.exchange import Exchange, Identity, Route
from emulators.http_server import Request
from emulators.kimi_connect import (
    auth,
    catalog,
    chat,
    conversation,
    profile,
    upload,
)
from emulators.kimi_connect.account import DAY, Account, TokenPair
from emulators.kimi_connect.answer import Answer, Answering, SearchHit, quote
from emulators.kimi_connect.caller import (
    Caller,
    authenticate,
    check_protocol,
    identify,
    locale,
    snake,
)
from emulators.kimi_connect.error import Refusal, invalid, missing, planned
from emulators.kimi_connect.frame import only_message
from emulators.kimi_connect.mischief import SCRIPT_FAULTS, SHAPE_FAULTS
from emulators.kimi_connect.world import Chat, Knobs, StoredFile, Turn, World
from emulators.server import Emulator

_Call = Callable[[World, Caller, Mapping[str, Any]], dict[str, Any]]
_CHAT_SERVICE = "/apiv2/kimi.gateway.chat.v1.ChatService"
_OLD_CHAT_SERVICE = "/apiv2/kimi.chat.v1.ChatService"
_GATEWAY = "/apiv2/kimi.gateway"
_FILES = "/apiv2-files"
_UNARY: Mapping[str, _Call] = {
    f"{_CHAT_SERVICE}/ListMessages": conversation.list_messages,
    f"{_CHAT_SERVICE}/GetChat": conversation.get_chat,
    f"{_CHAT_SERVICE}/ListChats": conversation.list_chats,
    f"{_CHAT_SERVICE}/UpdateChat": conversation.update_chat,
    f"{_CHAT_SERVICE}/DeleteChat": conversation.delete_chat,
    f"{_CHAT_SERVICE}/CancelChat": conversation.cancel_chat,
    f"{_CHAT_SERVICE}/CreateChat": conversation.create_chat,
    f"{_OLD_CHAT_SERVICE}/DeleteChat": conversation.delete_chat,
    f"{_OLD_CHAT_SERVICE}/BatchDeleteChats": conversation.batch_delete_chats,
    f"{_GATEWAY}.feed.v1.FeedService/ListFeeds": conversation.list_feeds,
    f"{_GATEWAY}.account.v1.UserService/GetCurrentUser": profile.get_current_user,
    f"{_GATEWAY}.order.v1.SubscriptionService/GetSubscription": (
        profile.get_subscription
    ),
    f"{_GATEWAY}.membership.v2.MembershipService/GetSubscriptionStats": (
        profile.get_subscription_stats
    ),
    f"{_GATEWAY}.billing.v1.BillingService/GetUsages": profile.get_usages,
    # The sheet does not know this service's package.
    "/apiv2/{service}/GetUserStorageQuota": profile.get_user_storage_quota,
    f"{_FILES}/kimi.gateway.file.v1.FileService/GetFileParseProgress": (
        upload.get_file_parse_progress
    ),
}


class KimiConnectEmulator(Emulator):
    """Kimi's API host and auth host in one server.

    `answer` is an `Answer` or a callable from prompt and request to one; `knobs` are
    standing behaviour; `clock` gives epoch seconds and decides what has expired. Fault
    names: those of the base, of `mischief` (Chat only), `rpc_error` (unary RPCs; the
    parameters of `error` plus `on`), `refresh_lost` (rotated, but cut).
    """

    known_faults = frozenset(
        {*SCRIPT_FAULTS, *SHAPE_FAULTS, "rpc_error", "refresh_lost"}
    )

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.world = World(clock)
        self.answer: Answering = quote
        super().__init__()

    @property
    def knobs(self) -> Knobs:
        """Standing behaviour; set its fields at any time."""
        return self.world.knobs

    def add_account(
        self,
        name: str,
        region: str = "cn",
        level: str = "LEVEL_FREE",
        access_life: float = 900,
        refresh_life: float = 90 * DAY,
    ) -> TokenPair:
        """Register a user and return made-up tokens; lives in seconds."""
        account = Account(name, region, level, access_life, refresh_life)
        return self.world.accounts.add(account)

    def login(self, name: str) -> TokenPair:
        """Return another, independent pair of tokens for an account."""
        return self.world.accounts.login(name)

    def revoke(self, name: str, kind: str | None = None) -> None:
        """Kill all tokens of an account, or only the `access` or `refresh` ones."""
        self.world.accounts.revoke_all(name, kind)

    def chats(self, account: str | None = None) -> tuple[Chat, ...]:
        """Return the conversations that exist, newest first."""
        return self.world.chats.all(account)

    def running(self) -> tuple[Turn, ...]:
        """Return the turns that generate now."""
        return self.world.turns.running()

    def files(self, account: str | None = None) -> tuple[StoredFile, ...]:
        """Return the uploaded files, oldest first."""
        stored = tuple(self.world.files.values())
        return tuple(file for file in stored if account in (None, file.owner))

    def lose_files(self) -> None:
        """Forget every file, as the service may after a while."""
        self.world.files.clear()

    def start(self, port: int = 0) -> Self:
        """Start, or start again with all that was known before."""
        self.world.turns.open()
        return super().start(port)

    def stop(self) -> None:
        """Cancel every turn, then stop as the base does."""
        self.world.turns.close()
        super().stop()

    def reset(self) -> None:
        """Forget log, faults, chats, files, script and knobs; accounts stay."""
        super().reset()
        self.world.turns.cancel()
        self.world.chats.clear()
        self.world.files.clear()
        self.world.knobs = Knobs()
        self.answer = quote

    def identify(self, request: Request) -> Identity:
        """Return account and kind of token."""
        return identify(self.world, request)

    def decode_body(self, request: Request) -> Any:
        """Return the JSON inside the envelope, too."""
        if request.content_type == chat.CONTENT_TYPE:
            try:
                return only_message(request.body)
            except Refusal as refusal:
                return f"<no envelope: {refusal.error.message}>"
        return super().decode_body(request)

    def describe_chats(self) -> Any:
        """Return the conversations that exist, with their owners."""
        running = {turn.chat_id for turn in self.running()}
        return [
            {
                **item.json(),
                "account": item.owner,
                "messages": len(item.messages),
                "running": item.id in running,
            }
            for item in self.chats()
        ]

    def routes(self) -> Iterable[Route]:
        """Return the paths of §1, §2, §9–§11, and the emulator's own controls."""
        yield Route("POST", f"{_CHAT_SERVICE}/Chat", self._chat)
        yield Route("POST", f"{_OLD_CHAT_SERVICE}/Chat", self._chat)
        for path, call in _UNARY.items():
            yield Route("POST", path, self._unary(call))
        yield Route(
            "POST",
            f"{_GATEWAY}.config.v1.ConfigService/GetAvailableModels",
            self._models,
        )
        yield Route("POST", f"{_CHAT_SERVICE}/GetChatShare", self._share)
        yield Route("POST", "/api/chat", self._old_create, "CreateChatOld")
        yield Route("POST", f"{_FILES}/file/upload", self._upload)
        yield Route(
            "POST", "/api/account.gateway.v1.AuthService/RefreshToken", self._refresh
        )
        yield Route("GET", "/api/auth/token/refresh", self._refresh_old, "RefreshOld")
        yield Route("POST", "/_emulator/answer", self._set_answer)
        yield Route("POST", "/_emulator/knobs", self._set_knobs)
        yield Route("POST", "/_emulator/accounts", self._add_account)

    def _chat(self, exchange: Exchange) -> None:
        chat.chat(self.world, exchange, self.answer)

    def _upload(self, exchange: Exchange) -> None:
        if not self._planned(exchange):
            upload.upload(self.world, exchange)

    def _refresh(self, exchange: Exchange) -> None:
        auth.refresh_new(self.world, exchange)

    def _refresh_old(self, exchange: Exchange) -> None:
        auth.refresh_old(self.world, exchange)

    def _unary(self, call: _Call) -> Callable[[Exchange], None]:
        def handler(exchange: Exchange) -> None:
            def answer() -> dict[str, Any]:
                check_protocol(exchange.request, "application/json")
                caller = authenticate(self.world, exchange.request)
                return call(self.world, caller, _body(exchange.request))

            self._answer(exchange, answer)

        return handler

    def _models(self, exchange: Exchange) -> None:
        """Answer without a login, too; the build number chooses the list (§3, §9)."""

        def answer() -> dict[str, Any]:
            check_protocol(exchange.request, "application/json")
            if exchange.request.bearer is not None:
                authenticate(self.world, exchange.request)
            version = exchange.request.headers.get("x-msh-version")
            return catalog.discovery(old=catalog.is_old_build(version))

        self._answer(exchange, answer)

    def _share(self, exchange: Exchange) -> None:
        """Answer without a login: nothing is ever shared here."""

        def answer() -> dict[str, Any]:
            check_protocol(exchange.request, "application/json")
            raise missing("share")

        self._answer(exchange, answer)

    def _old_create(self, exchange: Exchange) -> None:
        def answer() -> dict[str, Any]:
            caller = authenticate(self.world, exchange.request)
            body = _body(exchange.request)
            return conversation.create_chat_old(self.world, caller, body)

        self._answer(exchange, answer)

    def _answer(self, exchange: Exchange, answer: Callable[[], dict[str, Any]]) -> None:
        if self._planned(exchange):
            return
        try:
            value = answer()
        except Refusal as refusal:
            body = refusal.error.body(locale(exchange.request))
            exchange.json(body, refusal.error.status)
            return
        exchange.json(value)

    def _planned(self, exchange: Exchange) -> bool:
        fault = exchange.fault("rpc_error")
        if fault is None:
            return False
        error = planned(fault.params)
        headers = {}
        if "retry_after" in fault.params:
            headers["Retry-After"] = str(fault.params["retry_after"])
        exchange.json(error.body(locale(exchange.request)), error.status, headers)
        return True

    def _set_answer(self, exchange: Exchange) -> None:
        """Take the fields of `Answer` as JSON; `{}` goes back to quoting."""
        value = dict(exchange.request.json())
        try:
            hits = tuple(SearchHit(**hit) for hit in value.pop("search", ()))
            if isinstance(value.get("pieces"), list):
                value["pieces"] = tuple(value["pieces"])
            self.answer = Answer(search=hits, **value) if value or hits else quote
        except (TypeError, ValueError) as error:
            exchange.json({"error": str(error)}, 400)
            return
        exchange.json({})

    def _set_knobs(self, exchange: Exchange) -> None:
        """Take any fields of `Knobs` as JSON and answer with all of them."""
        value = exchange.request.json()
        unknown = set(value) - {field.name for field in fields(Knobs)}
        if unknown:
            exchange.json({"error": f"unknown knobs: {sorted(unknown)}"}, 400)
            return
        for name, setting in value.items():
            setattr(self.knobs, name, setting)
        exchange.json(asdict(self.knobs))

    def _add_account(self, exchange: Exchange) -> None:
        """Take the arguments of `add_account` and answer with the tokens."""
        try:
            pair = self.add_account(**exchange.request.json())
        except (TypeError, ValueError) as error:
            exchange.json({"error": str(error)}, 400)
            return
        exchange.json(asdict(pair))


def _body(request: Request) -> Mapping[str, Any]:
    try:
        body = snake(request.json())
    except ValueError as error:
        raise invalid("body", "no JSON") from error
    if not isinstance(body, Mapping):
        raise invalid("body", "must be an object")
    return body
