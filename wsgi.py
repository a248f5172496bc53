"""gunicorn's entry: settings, services, app. `gunicorn wsgi:app` is all it takes."""

import sys

from kimi_proxy.app import build
from kimi_proxy.config import ConfigError, load

try:
    app = build(load())
except ConfigError as exc:
    sys.stderr.write(f"{exc}\n")
    sys.exit(4)  # gunicorn's "cannot load": after any other it would try for ever
