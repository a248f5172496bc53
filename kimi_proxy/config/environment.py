"""The predecessors' environment variables, as a configuration of their own.

`VARIABLES` says of each one what became of it; its rows follow the predecessors
sheet §2 (kilo2api, qodo2api), §3 (kimi-ai-2api), §4 (kimi-free-api and its forks).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kimi_proxy.config.draft import Draft
from kimi_proxy.config.old_name import OLD_NAMES
from kimi_proxy.config.problem import KeyPath
from kimi_proxy.config.provider import PoolSettings

Read = Callable[[str], Any]
"""Turns a variable's text into the value of its key."""


@dataclass(frozen=True, slots=True)
class Used:
    """Read as `key`, in which `*` stands for every provider that has accounts. A
    variable no other program knows asks for this configuration by its mere presence
    (`asks`); HOST or DEBUG alone do not."""

    name: str
    key: str
    read: Read = str
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Idle:
    """Known, and without effect."""

    name: str
    message: str = "has no effect here"


def _words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def _tokens(text: str) -> list[str]:
    # A dump of the browser's storage is one token, though it has commas.
    text = text.strip()
    return [text] if text.startswith(("{", "[")) else _words(text)


def _kilo_tokens(text: str) -> list[str]:
    # `token=session`: only the first part is the token (kilo sheet §7).
    return [word.partition("=")[0] for word in _words(text)]


def _keys(name: str) -> Read:
    def read(text: str) -> list[dict[str, str]]:
        words = enumerate(dict.fromkeys(_words(text)), 1)
        return [
            {"name": name if count == 1 else f"{name}-{count}", "key": word}
            for count, word in words
        ]

    return read


def _master_keys(text: str) -> list[dict[str, str]]:
    # Unset or "1" meant open to all (sheet §3); open is on loopback only here.
    return [] if text.strip() == "1" else _keys("api-master-key")(text)


def _debug(text: str) -> str:
    return "debug" if text.strip().lower() in ("1", "true", "yes", "on") else "info"


def _model(text: str) -> dict[str, list[str]]:
    route = [f"kimi/{text.strip()}"]
    return {"default": route, text.strip(): route}


_ACCOUNTS = {"kimi": "KIMI_TOKEN", "kilo": "KL_COOKIE", "qodo": "QD_COOKIE"}
# kimi-ai-2api had no accounts; these names are its own.
_SITE_WORDS = frozenset({"API_MASTER_KEY", "API_REQUEST_TIMEOUT"})
# Where each listened unless told otherwise (sheet §1), and its name.
_PORTS = {
    "kilo": (7099, "kilo2api"),
    "qodo": (10022, "qodo2api"),
    "kimi-ai-chat": (8088, "kimi-ai-2api"),
}
_NEVER = "has no effect: what it asks for is never built"
VARIABLES: tuple[Used | Idle, ...] = (
    Used("KIMI_TOKEN", "providers.kimi.tokens", _tokens, asks=True),
    Used("KL_COOKIE", "providers.kilo.tokens", _kilo_tokens, asks=True),
    Used("QD_COOKIE", "providers.qodo.tokens", _words, asks=True),
    Used("KIMI_API_BASE", "providers.kimi.hosts.api", asks=True),
    Used("KIMI_MAX_CONCURRENCY", "providers.kimi.pool.concurrency", asks=True),
    Used("RATE_LIMIT_COOKIE_LOCK_DURATION", "providers.*.pool.cooldown", asks=True),
    Used("PROXY_URL", "providers.*.proxy"),
    Used("API_SECRET", "keys", _keys("api-secret"), asks=True),
    Used("API_MASTER_KEY", "keys", _master_keys, asks=True),
    Used("OPENAI_API_KEY", "keys", _keys("openai-api-key")),
    Used("SERVER_HOST", "server.host"),
    Used("HOST", "server.host"),
    Used("SERVER_PORT", "server.port"),
    Used("NGINX_PORT", "server.port"),
    Used("PORT", "server.port"),
    Used("ROUTE_PREFIX", "server.route_prefix"),
    Used("REQUEST_RATE_LIMIT", "limits.per_ip", "{}/minute".format, asks=True),
    Used("API_REQUEST_TIMEOUT", "timeouts.total", asks=True),
    Used("TIMEOUT", "timeouts.total"),
    Used("DATA_DIR", "state", lambda text: f"sqlite:///{text}/kimi-proxy.db"),
    Used("DEBUG", "log.level", _debug),
    Used("MODEL", "models", _model),
    Idle("KIMI_MIN_REQUEST_INTERVAL"),
    Idle("PRE_MESSAGES_JSON"),
    Idle("IP_BLACK_LIST"),
    Idle("SESSION_CACHE_TTL", "has no effect: send the history with each request"),
    Idle("MAX_SESSION_SIZE"),
    Idle("REQUEST_TIMEOUT"),
    Idle("MAX_RETRIES"),
    Idle("LOG_LEVEL"),
    Idle("API_HOST"),
    Idle("API_PORT"),
    Idle("CHAT_MAX_DAYS"),
    Idle("BACKEND_SECRET"),
    Idle("BACKEND_API_ENABLE"),
    Idle("MYSQL_DSN"),
    Idle("SWAGGER_ENABLE"),
    Idle("USER_AGENT"),
    Idle("REASONING_HIDE"),
    Idle("GIN_MODE"),
    Idle("ADMIN_PASSWORD"),
    Idle("SESSION_SECRET"),
    Idle("SECURE_COOKIES"),
    Idle("REQUEST_LOG_RETENTION"),
    Idle("REQUEST_LOG_BODY_LIMIT"),
    Idle("TIMEZONE"),
    Idle("SERVER_NAME"),
    Idle("SERVER_ENV"),
    Idle("CHINESE_CHAT_ENABLED", _NEVER),
    Idle("CHEAT_ENABLED", _NEVER),
    Idle("CHEAT_URL", _NEVER),
)


def asks(environ: Mapping[str, str]) -> bool:
    """Tell whether a predecessor's own variable is set, and not empty."""
    return any(
        environ.get(row.name, "").strip()
        for row in VARIABLES
        if isinstance(row, Used) and row.asks
    )


def draft(environ: Mapping[str, str]) -> Draft:
    """Read every known variable that is set into today's keys."""
    gathering = _Gathering()
    for row in VARIABLES:
        text = environ.get(row.name, "")
        if text.strip():
            gathering.add(row, text)
    return gathering.draft()


@dataclass(slots=True)
class _Gathering:
    tree: dict[str, Any] = field(default_factory=lambda: {"providers": {}}, repr=False)
    warnings: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    # What is said of an account as a whole is said of the variable that brings it.
    names: dict[KeyPath, str] = field(
        default_factory=lambda: {("providers", n): v for n, v in _ACCOUNTS.items()}
    )

    def add(self, row: Used | Idle, text: str) -> None:
        self.seen.add(row.name)
        match row:
            case Idle():
                self.warnings.append(f"{row.name} {row.message}")
            case Used():
                self._use(row, row.read(text))

    def _use(self, row: Used, value: Any) -> None:
        steps = row.key.split(".")
        owners = [*self.tree["providers"]] or ["kimi"] if "*" in steps else [""]
        paths = [tuple(owner if s == "*" else s for s in steps) for owner in owners]
        if not all([self._place(path, row.name, value) for path in paths]):
            self.warnings.append(f"{row.name} has no effect with the others set")
            return
        keys = ", ".join(".".join(path) for path in paths)
        self.warnings.append(f"{row.name} is read as {keys}: prefer a config.yaml")

    def _place(self, path: tuple[str, ...], name: str, value: Any) -> bool:
        """Put a value in the tree; False if another variable was there before."""
        *steps, last = path
        if steps[:1] == ["providers"]:
            self.tree["providers"].setdefault(steps[1], {"type": steps[1]})
        section: dict[str, Any] = self.tree
        for step in steps:
            section = section.setdefault(step, {})
        if isinstance(value, list):
            return self._append(section.setdefault(last, []), path, name, value)
        if last in section:
            return False
        section[last] = value
        self.names[path] = name
        return True

    def _append(
        self, entries: list[Any], path: KeyPath, name: str, values: list[Any]
    ) -> bool:
        known = {entry["key"] for entry in entries if isinstance(entry, dict)}
        for value in values:
            # The same key in two variables is one key.
            if isinstance(value, dict) and value["key"] in known:
                continue
            self.names[(*path, len(entries))] = name
            entries.append(value)
        return True

    def draft(self) -> Draft:
        if not self.tree["providers"]:
            kind = "kimi-ai-chat" if self.seen & _SITE_WORDS else "kimi"
            self.tree["providers"] = {kind: {"type": kind}}
        for name, provider in self.tree["providers"].items():
            _lengthen_rest(provider.get("pool", {}))
            # Kimi's old names are any at all: beside others they would be theirs too.
            alone = name != "kimi" or len(self.tree["providers"]) == 1
            old = OLD_NAMES[name] if alone else {}
            self.tree["models"] = {**old, **self.tree.get("models", {})}
        self._listen_where_it_did()
        return Draft(
            "environment",
            self.tree,
            warnings=tuple(self.warnings),
            names=self.names,
        )

    def _listen_where_it_did(self) -> None:
        server = self.tree.setdefault("server", {})
        (first, *others) = self.tree["providers"]
        if "port" in server or others or first not in _PORTS:
            return
        server["port"], who = _PORTS[first]
        self.warnings.append(
            f"server.port is {server['port']}, as with {who}: prefer a config.yaml"
        )


def _lengthen_rest(pool: dict[str, Any]) -> None:
    """Let a cool-down be longer than ours may: theirs had no bound (sheet §2)."""
    seconds = pool.get("cooldown", "").strip()
    longest: float = PoolSettings.model_fields["max_cooldown"].default
    if re.fullmatch(r"[0-9]{1,9}", seconds) and int(seconds) > longest:
        pool["max_cooldown"] = seconds
