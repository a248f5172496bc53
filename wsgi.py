"""gunicorn's entry: settings, services, app. `gunicorn wsgi:app` is all it takes."""

import sys

from kimi_proxy.app import build
from kimi_proxy.config import ConfigError, load

try:
    app = build(load())
except ConfigError as exc:
    sys.exit(str(exc))
