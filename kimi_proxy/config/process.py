"""What the process around the gateway tells it through the environment."""

from __future__ import annotations

import os


def metrics_directory() -> str | None:
    """Where workers share their metric values, as prometheus-client names it."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR") or None
