"""gunicorn's entry: settings, services, app. `gunicorn wsgi:app` is all it takes."""

import sys

from kimi_proxy.app import build
from kimi_proxy.config import ConfigError, load
from kimi_proxy.providers import kimi_token

try:
    app = build(load(vet=kimi_token.read))
except ConfigError as exc:
    sys.stderr.write(f"{exc}\n")
    sys.exit(4)  # gunicorn's "cannot load": after any other it would try for ever
