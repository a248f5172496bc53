"""Thinking that a client keeps for the gateway: `encrypted_content`.

It holds what the client may read anyhow, packed; it is no secret and no proof. What
another service has sealed says nothing here.
"""

import base64
import binascii
import zlib

_MARK = "kp1."
_LONGEST = 1 << 22  # bytes of one thought


def seal(text: str) -> str:
    """Pack a thought."""
    packed = zlib.compress(text.encode("utf-8", "replace")[:_LONGEST])
    return _MARK + base64.urlsafe_b64encode(packed).decode()


def unseal(sealed: str | None) -> str:
    """The thought; empty for what was not packed here."""
    if sealed is None or not sealed.startswith(_MARK):
        return ""
    try:
        packed = base64.urlsafe_b64decode(sealed[len(_MARK) :])
        data = zlib.decompressobj().decompress(packed, _LONGEST)
    except (binascii.Error, ValueError, zlib.error):
        return ""
    return data.decode("utf-8", "replace")
