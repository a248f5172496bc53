"""Pages for a browser, from a server of their own: another origin than the gateway."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def serving_pages(place: Path) -> Iterator[str]:
    """Serve the files of a directory on a free port; the origin they have."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=place))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
