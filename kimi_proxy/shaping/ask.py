"""The one shape of every step: a way to ask that makes a better way to ask."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from kimi_proxy.chat import ChatRequest, Message, Thread
from kimi_proxy.events import Event, Finished

Ask = Callable[[ChatRequest], Iterator[Event]]


@contextmanager
def closing(events: Iterable[Event]) -> Generator[Iterator[Event], None, None]:
    """The events, which are closed in the end if they can be."""
    iterator = iter(events)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


def instructed(request: ChatRequest, words: str) -> ChatRequest:
    """The request with directions of ours, where a model heeds them most: just before
    the last message."""
    *history, last = request.messages
    return replace(request, messages=(*history, Message("system", words), last))


def followed_up(
    request: ChatRequest, answer: str, end: Finished, words: str
) -> ChatRequest:
    """The request for a second try: in the same chat if the upstream keeps one."""
    # Not the user's words: an address in what they quote is none for the link reader.
    told = Message("system", words)
    if end.conversation is not None:
        thread = Thread(end.conversation, end.head)
        return replace(request, messages=(told,), follows=thread)
    said = Message("assistant", answer)
    return replace(request, messages=(*request.messages, said, told))
