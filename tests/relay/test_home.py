"""Where an object lives is remembered, and no more than that depends on it."""

from kimi_proxy.errors import StateUnavailable
from kimi_proxy.relay.home import Home, Homes, ids_in
from kimi_proxy.storage import open_store
from tests.fakes import HandClock

DAY = 86_400.0
HOME = Home("up", "alice")


def test_a_home_is_known_for_thirty_days_without_use() -> None:
    clock = HandClock()
    homes = Homes(open_store("memory://", clock.now).live)
    homes.remember(["batch_1", "batch_2"], HOME)
    clock.advance(29 * DAY)
    assert homes.find(["unknown", "batch_1"]) == HOME
    homes.remember(["batch_1"], HOME)
    clock.advance(2 * DAY)
    assert homes.find(["batch_1"]) == HOME
    assert homes.find(["batch_2"]) is None


def test_no_provider_takes_what_is_another_s() -> None:
    homes = Homes(open_store("memory://", HandClock().now).live)
    homes.remember(["batch_1"], HOME)
    homes.remember(["batch_1"], Home("other", "mallory"))
    assert homes.find(["batch_1"]) == HOME
    homes.remember(["batch_1"], Home("up", "bob"))
    assert homes.find(["batch_1"]) == Home("up", "bob")


class Broken:
    """A store that cannot be used now."""

    def __getattr__(self, _: str) -> object:
        def fail(*_: object, **__: object) -> None:
            raise StateUnavailable("the disk is full")

        return fail


def test_a_store_that_fails_fails_no_call() -> None:
    homes = Homes(Broken())  # type: ignore[arg-type]  # it has every method
    homes.remember(["batch_1"], HOME)
    assert homes.find(["batch_1"]) is None


def test_ids_are_those_of_what_was_made_and_of_its_parts() -> None:
    body = b'{"id":"upload_1","file":{"id":"file-1"},"parts":[{"id":"no"}],"x":7}'
    assert list(ids_in(body)) == ["upload_1", "file-1"]
    for other in (b"", b"[]", b'{"id":7}', b'{"id":"cut'):
        assert list(ids_in(other)) == []
