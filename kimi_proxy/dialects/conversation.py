"""How clients of every dialect name the chat to go on with (docs/conversations.md)."""

_NEW_CHAT = "none"  # kimi-free-api's word for it


def conversation_of(given: str | None) -> str | None:
    """What a request means by it: "" for a new chat that is kept, None for nothing."""
    named = (given or "").strip()
    return "" if named.lower() == _NEW_CHAT else named or None
