"""What the other processes of these tests do; light, as each one imports it."""

from __future__ import annotations

import os
import resource
import sqlite3
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import flask
import gevent
import gevent.monkey
from flask_limiter import Limiter

from kimi_proxy.storage import (
    Document,
    StorageUnavailable,
    Store,
    open_store,
    private_file,
)
from kimi_proxy.storage.limits import DocumentLimits


def open_at(path: Path) -> Store:
    return open_store(f"sqlite:///{path}", time.time)


def count_up(document: Document | None) -> tuple[Document, int]:
    count = 1 if document is None else document["count"] + 1
    return {"count": count}, count


def increment(pipe: Connection, path: Path, times: int) -> None:
    """Count both spaces up, tidying on the way; say when ready, wait for the start."""
    with closing(open_at(path)) as store:
        pipe.send("ready")
        pipe.recv()
        for number in range(times):
            store.live.update("counter", count_up)
            if number % 10 == 0:
                store.durable.update("counter", count_up)
            if number % 50 == 0:
                store.tidy()
        pipe.send("done")


def write_forever(pipe: Connection, path: Path) -> None:
    """Acknowledge every durable and live write, until killed."""
    store = open_at(path)
    number = 0
    while True:
        store.durable.put(f"token/{number}", {"number": number, "pad": "x" * 700})
        store.live.put("last", {"number": number})
        pipe.send(number)
        number += 1


def hold(pipe: Connection, path: Path) -> None:
    """Hold the write lock, having written 41, until told to commit."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE documents SET body = ?", (b'{"count":41}',))
        pipe.send("holding")
        pipe.recv()
        connection.execute("COMMIT")


def fill_up(pipe: Connection, path: Path, limit: int) -> None:
    """Write until files may grow no more, then not write at all, then go on."""
    store = open_at(path)
    store.durable.put("first", {})
    let_files_grow_to(limit)
    written = 0
    try:
        for written in range(1_000):
            store.durable.put(f"token/{written}", {"pad": "x" * 1_000})
    except StorageUnavailable as error:
        pipe.send((written, error.detail))
    let_files_grow_to(0)
    try:
        store.check()
    except StorageUnavailable as error:
        pipe.send(error.detail)
    let_files_grow_to(resource.RLIM_INFINITY)
    store.check()
    store.durable.put("last", {})
    pipe.send(len(store.durable.scan("")))
    store.close()


def let_files_grow_to(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def overwrite(pipe: Connection, path: Path, offset: int) -> None:
    """Put noise over all of a file but its beginning."""
    size = path.stat().st_size - offset
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(os.urandom(size))
    pipe.send("overwritten")


def scribble(pipe: Connection, path: Path, text: str) -> None:
    """Give every document a body that is not JSON."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE documents SET body = ?", (text.encode(),))
    pipe.send("scribbled")


def wait_in_greenlets(pipe: Connection, path: Path) -> None:
    """Update from 20 greenlets; say so when another one runs while they all wait."""
    gevent.monkey.patch_all()
    with closing(open_at(path)) as store:
        waiting = [
            gevent.spawn(store.durable.update, "counter", count_up) for _ in range(20)
        ]
        for _ in range(10):
            gevent.sleep(0.001)
        pipe.send([greenlet.ready() for greenlet in waiting])
        gevent.joinall(waiting, raise_error=True)
        # A fork closes and opens again under gevent's locks too.
        if (child := os.fork()) == 0:
            store.durable.update("counter", count_up)
            os._exit(0)
        os.waitpid(child, 0)
        pipe.send(store.durable.get("counter"))


def take_turns_in_greenlets(pipe: Connection, directory: Path) -> None:
    """Take ten turns at a time; each lets the other greenlets run meanwhile."""
    gevent.monkey.patch_all()
    order: list[str] = []

    def work() -> None:
        with private_file.turn(directory):
            order.append("in")
            gevent.sleep(0.002)
            order.append("out")

    gevent.joinall([gevent.spawn(work) for _ in range(10)], raise_error=True)
    pipe.send(order)


def use_stores_in_greenlets(pipe: Connection, path: Path) -> None:
    """Two stores on one file, forty greenlets, tidied and closed meanwhile."""
    gevent.monkey.patch_all()
    stores = [open_at(path) for _ in range(2)]

    def count(number: int) -> None:
        store = stores[number % 2]
        for space in (store.durable, store.live):
            space.update("counter", count_up)
            gevent.sleep(0)
        store.tidy()
        if number % 10 == 0:
            store.close()

    gevent.joinall([gevent.spawn(count, n) for n in range(40)], raise_error=True)
    pipe.send([stores[0].durable.get("counter"), stores[1].live.get("counter")])
    for store in stores:
        store.close()


def request_often(pipe: Connection, path: Path, strategy: str, times: int) -> None:
    """Serve ``times`` requests from an application limited to 25 an hour."""
    assert DocumentLimits.STORAGE_SCHEME == ["kimi-proxy"]
    with closing(open_at(path)) as store:
        app = flask.Flask(__name__)
        limiter = Limiter(
            lambda: "one client",
            app=app,
            storage_uri="kimi-proxy://",
            storage_options={"documents": store.live},  # type: ignore[dict-item]
            strategy=strategy,
        )
        app.add_url_rule("/", view_func=limiter.limit("25/hour")(lambda: "ok"))
        client = app.test_client()
        pipe.send(os.getpid())
        pipe.recv()
        pipe.send([client.get("/").status_code for _ in range(times)])
