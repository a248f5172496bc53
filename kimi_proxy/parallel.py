"""One thing done for several at a time, as part of one request."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from kimi_proxy.errors import ClientGone, GatewayError, UpstreamTimeout
from kimi_proxy.scope import Scope

T = TypeVar("T")
R = TypeVar("R")


def each(
    call: Callable[[T, Scope], R],
    items: Sequence[T],
    *,
    most: int,
    scope: Scope,
    monotonic: Callable[[], float],
) -> list[R]:
    """What `call` makes of each item, in their order, `most` at a time.

    The first failure ends the others and is raised. `call` gets a scope to obey, which
    ends with `scope`.
    """
    if len(items) < 2:
        return [call(item, scope) for item in items]
    with _inside(scope, monotonic) as inner:
        with ThreadPoolExecutor(min(most, len(items)), "each") as pool:
            futures = [pool.submit(call, item, inner) for item in items]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                if not all(future.done() for future in futures):
                    inner.cancel(ClientGone("another one has failed"))
                    pool.shutdown(wait=False, cancel_futures=True)
        failure = _first_failure(futures, inner.reason)
        if failure is not None:
            scope.check()
            raise failure
        return [future.result() for future in futures]


def _first_failure(
    futures: Sequence["Future[R]"], ended: GatewayError | None
) -> BaseException | None:
    """Of several the one that is not the end of the others."""
    failures = [f.exception() for f in futures if not f.cancelled()]
    found = [failure for failure in failures if failure is not None]
    return next((failure for failure in found if failure is not ended), ended)


@contextmanager
def _inside(scope: Scope, monotonic: Callable[[], float]) -> Iterator[Scope]:
    """A scope that ends with `scope`, and may end before it."""
    left = scope.limit(scope.timeouts.total)
    inner = Scope(replace(scope.timeouts, total=left), monotonic)
    late = UpstreamTimeout(f"it took longer than {left:g} s")
    forget = scope.on_cancel(lambda: inner.cancel(scope.reason or late))
    try:
        yield inner
    finally:
        forget()
