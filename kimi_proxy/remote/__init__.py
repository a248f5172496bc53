"""Files that clients name by URL, fetched without becoming a way into our network."""

from kimi_proxy.remote.address import Network
from kimi_proxy.remote.fetch import Fetched, RemoteFiles

__all__ = ["Fetched", "Network", "RemoteFiles"]
