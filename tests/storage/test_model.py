"""Any sequence of calls on SQLite gives what a plain dict would give."""

from __future__ import annotations

import tempfile

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kimi_proxy.storage import Document, open_store
from tests.storage.conftest import HandClock

KEYS = st.text("ab/é\U0010ffff", max_size=3)
BODIES = st.dictionaries(
    st.text(max_size=3),
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=2000),
    max_size=3,
)
TTLS = st.none() | st.integers(1, 5)


class SqliteAgainstDict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = HandClock()
        self.store = open_store(f"sqlite:///{self.directory.name}/k.db", self.clock)
        self.documents = self.store.live
        self.model: dict[str, tuple[Document, float | None]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()

    def visible(self) -> dict[str, Document]:
        return {
            key: document
            for key, (document, expires) in self.model.items()
            if expires is None or expires > self.clock.now
        }

    def expiry(self, ttl: int | None) -> float | None:
        return None if ttl is None else self.clock.now + ttl

    @rule(key=KEYS, body=BODIES, ttl=TTLS)
    def put(self, key: str, body: Document, ttl: int | None) -> None:
        self.documents.put(key, body, ttl=ttl)
        self.model[key] = body, self.expiry(ttl)

    @rule(key=KEYS, body=st.none() | BODIES, ttl=TTLS)
    def update(self, key: str, body: Document | None, ttl: int | None) -> None:
        before = self.visible().get(key)
        read: list[Document | None] = []

        def change(document: Document | None) -> tuple[Document | None, None]:
            read.append(document)
            return body, None

        self.documents.update(key, change, ttl=ttl)
        assert read == [before]
        if body is None:
            self.model.pop(key, None)
        elif orjson.dumps(body) != orjson.dumps(before):
            self.model[key] = body, self.expiry(ttl)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.documents.delete(key)
        self.model.pop(key, None)

    @rule(prefix=KEYS)
    def scan(self, prefix: str) -> None:
        found = self.visible()
        expected = sorted(key for key in found if key.startswith(prefix))
        assert self.documents.scan(prefix) == [(key, found[key]) for key in expected]

    @rule()
    def purge(self) -> None:
        visible = self.visible()
        assert self.documents.purge() == len(self.model) - len(visible)
        self.model = {key: self.model[key] for key in visible}

    @rule()
    def tidy(self) -> None:
        self.store.tidy()
        # A closed file is not tidied; purge makes up for it, so that both agree.
        self.documents.purge()
        self.model = {key: self.model[key] for key in self.visible()}

    @rule()
    def reopen(self) -> None:
        self.store.close()

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def every_visible_document_is_read(self) -> None:
        for key, document in self.visible().items():
            assert self.documents.get(key) == document


SqliteAgainstDict.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None
)
TestSqliteAgainstDict = SqliteAgainstDict.TestCase
