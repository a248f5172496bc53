"""The text of a block, which the Connect wire appends to and sets anew (sheet §6)."""


class Told:
    """What a block has told so far, and what part of that the client has.

    The client has always the longest text seen, in `_pieces`. `_retold` is the block's
    text where the upstream has set it back to less than that and tells it again.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._retold: str | None = None

    @property
    def begun(self) -> bool:
        """Whether the client has any of it."""
        return any(self._pieces)

    def append(self, piece: str) -> str:
        """The part of `piece` that is news; raises ValueError like `replace`."""
        if self._retold is not None:
            return self.replace(self._retold + piece)
        self._pieces.append(piece)
        return piece

    def replace(self, text: str) -> str:
        """The part of `text` that is news; ValueError when it contradicts the past."""
        known = "".join(self._pieces)
        if text.startswith(known):
            self._pieces, self._retold = [text], None
            return text[len(known) :]
        if not known.startswith(text):
            raise ValueError("not an extension")
        self._retold = text
        return ""

    def start_over(self, text: str) -> None:
        """Take `text` for what was told."""
        self._pieces, self._retold = [text], None
