"""File stores to try, with small limits and a clock to turn by hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kimi_proxy.file_store import Caps, FileStore, Stored, Upload
from kimi_proxy.storage import Contents, Store, open_contents, open_store
from tests.fakes import HandClock

CAPS = Caps(max_file=1000, max_total=3000, per_key=2000, ttl=3600.0)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A file store, with what lies below it."""

    files: FileStore
    store: Store
    clock: HandClock
    contents: Contents
    uri: str
    directory: Path | None

    def put(
        self, content: bytes | Upload, owner: str = "alice", **given: Any
    ) -> Stored:
        about = {"name": "a.txt", "media_type": "text/plain", "purpose": "user_data"}
        return self.files.put(owner, content=content, **{**about, **given})

    def names(self) -> list[str]:
        """What lies in the directory."""
        assert self.directory is not None
        return sorted(path.name for path in self.directory.iterdir())


def shelf(uri: str, clock: HandClock, caps: Caps = CAPS) -> Shelf:
    store = open_store(uri, clock.now)
    contents = open_contents(uri)
    files = FileStore(contents, store.durable, clock.clock, caps)
    path = uri.removeprefix("sqlite:///")
    directory = None if path == uri else Path(path).parent / "kimi.files"
    return Shelf(files, store, clock, contents, uri, directory)
