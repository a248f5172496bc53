"""The config.json of reverse-kimi, as a configuration (predecessors sheet §6)."""

from __future__ import annotations

from typing import Any

from kimi_proxy.config.draft import Draft
from kimi_proxy.config.old_name import OLD_NAMES

FILE = "config.json"


def recognises(tree: Any) -> bool:
    """Tell whether a file is reverse-kimi's config.json (predecessors sheet §6)."""
    return (
        isinstance(tree, dict)
        and "token" in tree
        and bool({"auth_token", "refresh_token"} & set(tree))
        and "providers" not in tree
    )


def draft(found: Draft) -> Draft:
    """Read that file: its own key, and the account it stands for.

    The refresh token is preferred: the access token beside it only lives so long.
    """
    name = "auth_token" if found.tree.get("auth_token") else "refresh_token"
    if found.tree.get("refresh_token"):
        name = "refresh_token"
    token = found.tree.get(name)
    tree = {
        # It listens everywhere, and does not start without a key of its own.
        "server": {"host": "0.0.0.0", "port": 6867},  # noqa: S104 (see above)
        "models": OLD_NAMES["kimi"],
        "keys": [{"name": "reverse-kimi", "key": found.tree["token"]}],
        "providers": {
            "kimi": {"type": "kimi", "tokens": [_unprefixed(token)] if token else []}
        },
    }
    unread = sorted(set(found.tree) - {"token", "auth_token", "refresh_token"})
    return Draft(
        found.source,
        tree,
        found.document,
        findings=found.findings,
        warnings=(
            "this is reverse-kimi's config.json, read as keys and"
            " providers.kimi.tokens: prefer a config.yaml; server.host is 0.0.0.0 and"
            " server.port 6867, as it had them",
            *(["its other keys have no effect here"] if unread else []),
        ),
        names={("keys",): "token", ("providers",): name},
    )


def _unprefixed(token: Any) -> Any:
    return token.removeprefix("Bearer ").strip() if isinstance(token, str) else token
