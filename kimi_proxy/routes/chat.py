"""What every dialect's chat comes to: one request, from its meaning to its answer."""

import os
from contextlib import ExitStack
from functools import partial

from flask import Response, request

from kimi_proxy.chat import ChatRequest
from kimi_proxy.dialects.contract import Dialect, Stamp
from kimi_proxy.routes.context import context, key, record
from kimi_proxy.routes.job import Job
from kimi_proxy.routes.limiting import take_place
from kimi_proxy.routes.streaming import answer
from kimi_proxy.scope import Scope


def respond(chat: ChatRequest, dialect: Dialect) -> Response:
    """Answer a chat in the dialect, streamed or whole.

    Raises `GatewayError` while a status can still be sent.
    """
    ctx, entry, client = context(), record(), key()
    entry.model, entry.streamed = chat.model, chat.stream
    client.require(chat.model)
    ctx.router.resolve(chat.model)  # an unknown model is refused before any work
    scope = Scope(ctx.timeouts, ctx.clock.monotonic)
    stamp = Stamp(os.urandom(16).hex(), int(ctx.clock.now()), chat.model, entry.id)
    with ExitStack() as stack:
        stack.callback(take_place())
        stack.callback(ctx.watcher.watch(request.environ, scope))
        opener = partial(ctx.gateway.open, only=client.accounts, owner=client.owner)
        response = answer(Job(opener, chat, scope), chat, dialect, stamp, entry)
        response.call_on_close(stack.pop_all().close)
    return response
