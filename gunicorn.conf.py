"""What a VPS needs of gunicorn; a plain `gunicorn wsgi:app` picks this file up.

WEB_CONCURRENCY chooses the number of workers, GUNICORN_CMD_ARGS overrides anything
here, for example `--workers 2 --worker-class gthread`.
"""

import atexit
import contextlib
import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time

import gunicorn.util

from kimi_proxy.config import ConfigError, load
from kimi_proxy.providers import kimi_token

# What is loaded at the start stays: to look for garbage in it is a tenth of the start.
gc.disable()

try:
    _settings = load(vet=kimi_token.read)
except ConfigError as exc:
    sys.exit(str(exc))


def _bind(server):
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{host}:{server.port}"


bind = _bind(_settings.server)
worker_class = "gevent"
worker_connections = 4096
threads = 256  # for gthread: one per open stream, started as they are needed
backlog = 2048
keepalive = 75  # longer than nginx keeps its upstream connections
timeout = 60
graceful_timeout = 30
_FAREWELL = 3.0  # of it: for error frames, log lines, and the chats to be deleted
_GLANCE = 0.5
_LINGER = 1.0  # a request may be under way on a connection that looks idle
accesslog = None  # the gateway writes its own line per request
loglevel = "warning"
control_socket_disable = True
# server.trusted_proxies says whose word counts. gunicorn itself would believe everyone
# on this machine, and answer 500 to a SCRIPT_NAME that the path does not begin with.
forwarder_headers = ""
secure_scheme_headers = {}
limit_request_line = 8190
limit_request_field_size = 64 * 1024  # many upstream tokens fit into one bearer

if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="kimi-proxy-")
    _owner = os.getpid()
    _shared = os.environ["PROMETHEUS_MULTIPROC_DIR"]

    def _remove_metrics() -> None:
        if os.getpid() == _owner:
            shutil.rmtree(_shared, ignore_errors=True)

    atexit.register(_remove_metrics)


def _undone_promise(state, workers):
    """Why this many workers cannot keep that state, or None."""
    if workers == 1 or state != "memory://":
        return None
    return (
        f"state: memory:// is for one worker, {workers} are configured: "
        "each would have its own limits, leases and tokens. Use "
        "sqlite:///data/kimi-proxy.db, or one worker."
    )


def _deaf_at(host, port):
    """Why nothing can listen there, or None; gunicorn would try for 5 s, then end."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            return f"cannot listen on {host}, port {port}: {exc.strerror}."
    return None


def on_starting(server):
    """Refuse what would break a promise without anybody noticing, or fail slowly."""
    said = _undone_promise(_settings.state, server.cfg.workers)
    inherited = server.master_pid or "LISTEN_FDS" in os.environ
    for address in () if inherited else server.cfg.address:
        if said is None and isinstance(address, tuple):
            said = _deaf_at(*address)
            said = said and f"{said} server.host and server.port choose another."
    if said is not None:
        sys.exit(said)


def when_ready(server):
    """A reload (SIGHUP) with a wrong configuration keeps the last good one.

    gunicorn itself would end: its own reload reads this file, which refuses to load,
    and closes its sockets before it opens others.
    """
    gc.enable()
    reload, settings = server.handle_hup, _settings
    attended = os.isatty(0)

    def reload_if_good():
        nonlocal settings
        if attended and not os.isatty(0):
            # The terminal was closed, which sends the same signal: run on unseen and
            # the port stays taken.
            server.handle_term()
        try:
            fresh = load(vet=kimi_token.read)
        except ConfigError as exc:
            server.log.error("not reloaded, the configuration is wrong:\n%s", exc)
            return
        said = _undone_promise(fresh.state, server.cfg.workers)
        # Where a command line chose the address, no configuration moves it.
        ours = server.cfg.bind == [_bind(settings.server)]
        if said is None and ours and _bind(fresh.server) != _bind(settings.server):
            said = _deaf_at(fresh.server.host, fresh.server.port)
            said = said and f"{said} Another host for the same port needs a restart."
        if said is not None:
            server.log.error("not reloaded: %s", said)
            return
        settings = fresh
        reload()

    server.handle_hup = reload_if_good


def _write_error(sock, status, reason, detail):
    """What gunicorn refuses by itself, in JSON too; its own way is a page of HTML.

    `detail` quotes the request, so it stays out: it may hold a key.
    """
    from kimi_proxy.routes.failure import raw_answer  # noqa: PLC0415 (workers only)

    gunicorn.util.write_nonblock(sock, raw_answer(status, reason))


def _idle_connections(worker):
    """The set, kept up to date, of connections on which no request has come yet.

    A draining gevent worker waits for them like for streams, up to graceful_timeout:
    no service could be restarted in less. gthread ends its own.
    """
    idle = set()
    wait = getattr(worker, "timeout_ctx", None)
    if wait is None:
        return idle
    handle, own = worker.handle, threading.local()

    def remember(listener, client, addr):
        own.client = client
        handle(listener, client, addr)

    @contextlib.contextmanager
    def rest():
        idle.add(own.client)
        try:
            with wait():
                yield
        finally:
            idle.discard(own.client)

    worker.handle, worker.timeout_ctx = remember, rest
    return idle


def _end_what_is_late(worker, idle):
    """End a draining worker's idle connections, and later what it still runs.

    Killed, a stream would break off without a word to its client or to the log. There
    is no hook for the beginning of a drain, and a signal is not its only cause.
    """
    while worker.alive:
        time.sleep(_GLANCE)
    time.sleep(_LINGER)
    for client in list(idle):
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RD)  # as if its other end had left
    patience = worker.cfg.graceful_timeout
    time.sleep(max(patience - _FAREWELL - _LINGER, patience / 2))
    worker.wsgi.extensions["kimi_proxy"].watcher.dismiss()


def post_fork(server, worker):
    """A worker is ended from its first moment on.

    It inherits handlers that only the master acts on: until it has its own, it would
    swallow the order, and be waited for until graceful_timeout.
    """
    for order in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(order, lambda *_: os._exit(0))
    gc.disable()  # until it has loaded the application


def post_worker_init(worker):
    """Refreshers, sweeper and heartbeat start with the worker, not with a request."""
    late = (worker, _idle_connections(worker))
    threading.Thread(target=_end_what_is_late, args=late, daemon=True).start()
    # Ctrl-C reaches every process of the terminal; the master's word is enough. Ended
    # by both, a gevent worker says so with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gunicorn.util.write_error = _write_error
    gc.freeze()
    gc.enable()
    worker.wsgi.extensions["kimi_proxy_services"].start()


def worker_int(worker):
    """SIGINT and SIGQUIT end what runs; gthread would wait for it to end by itself."""
    app = getattr(worker, "wsgi", None)  # none: it did not come that far
    if app is not None:
        app.extensions["kimi_proxy"].watcher.dismiss()


def worker_exit(server, worker):
    """A drained worker deletes the chats of its last answers before it goes."""
    app = getattr(worker, "wsgi", None)  # none: it did not come that far
    if app is not None:
        app.extensions["kimi_proxy_services"].stop()


def child_exit(server, worker):
    """What a worker counted as open is gone with it."""
    # Not at the top: prometheus-client looks for the directory when it is imported.
    from prometheus_client import multiprocess  # noqa: PLC0415

    multiprocess.mark_process_dead(worker.pid)
