"""How many tokens a text is, estimated: for upstreams that give no usage.

The text is cut as Kimi's tokenizer cuts it before it merges bytes. What such a piece
costs depends so much on its kind and length, and so little on the rest, that a mean for
each replaces the vocabulary (tens of MB as a dict). Errors: docs/usage.md.
"""

import re
from collections.abc import Iterator

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f々〇"
_UPPER, _LOWER = "A-ZÀ-ÖØ-Þ", "a-zß-öø-ÿ"
_SIGN = r"!-/:-@\[-`{-~"
_CJK_SIGN = "‐-‧、-〄〈-〠〰！-／：-＠［-｀｛-･"
_BREAKS = r"[\r\n]{0,8}"
_OTHER = rf"[^\W\d_{_HAN}{_UPPER}{_LOWER}Ѐ-ӿ]"


def _row(hundredths: str, then: int) -> tuple[int, ...]:
    """Costs by length: as listed from length 1 on, each further character `then`."""
    costs = [0, *map(int, hundredths.split())]
    # No piece is longer than 128 characters: the pattern's bounds see to it.
    rest = range(1, 130 - len(costs))
    return (*costs, *(costs[-1] + then * n for n in rest))


# Each kind's pattern and its costs in hundredths of a token, by length. Measured means;
# a kind's most frequent first letters let the matcher leave the other kinds quickly.
_KINDS = (
    (
        f" [{_UPPER}]?[{_LOWER}]{{1,40}}",
        _row("100 100 100 101 101 103 104 107 111 115 123 130 140 145 150 160", 30),
    ),
    (
        f"[{_UPPER}]?[{_LOWER}]{{1,40}}",
        _row("100 100 106 106 109 112 116 126 136 156 165 180 200 230 280", 35),
    ),
    (
        f"[{_HAN}]{{1,16}}",
        _row("100 116 183 220 277 321 371 417 467 516 566 611 658 697 747 817", 50),
    ),
    (r"\d{1,3}", _row("100", 0)),
    (
        f"[\t{_SIGN}][{_UPPER}]?[{_LOWER}]{{1,40}}",
        _row("100 102 110 117 111 123 128 137 155 182 202 220 245 270", 35),
    ),
    (
        f"[ \t{_SIGN}][{_UPPER}]{{1,40}}[{_LOWER}]{{0,40}}"
        f"|[{_UPPER}]{{1,40}}[{_LOWER}]{{0,40}}",
        _row("100 100 112 119 130 160 165 175 230 240 270 290", 30),
    ),
    (f" ?[{_SIGN}]{{1,16}}{_BREAKS}", _row("100 100 101 115 140 185 220 250", 5)),
    (r"[^\S\r\n]{0,64}[\r\n]{1,16}", _row("100", 0)),
    (r"\s{1,64}(?!\S)|\s{1,64}(?=\s\S)|\s", _row("100", 0)),
    (f"[{_CJK_SIGN}]{{1,8}}{_BREAKS}", _row("100 105 125 150", 30)),
    (" ?[Ѐ-ӿ]{1,40}", _row("100 100 100 130 160", 35)),
    (f" ?{_OTHER}{{1,40}}", _row("100 100", 65)),
    # What composes: joiners, variation selectors, marks; and lone signs and surrogates.
    (r"[\x00-\uffff]", _row("100", 0)),
    # Emoji, mostly: of four bytes two merge.
    (r"[\s\S]", _row("230", 0)),
)
_HAN_KIND = 3
# The empty group at the end says which kind matched. In front it would hide the first
# letters from the matcher, and cost ten times as much.
_PIECE = re.compile("|".join(f"(?:{pattern})()" for pattern, _ in _KINDS))
_COSTS = ((), *(row for _, row in _KINDS))
# A Chinese character outside GB 2312 (traditional, rare) seldom merges with another.
_UNCOMMON = 110


def _pieces(text: str) -> Iterator[tuple[int, int, int]]:
    """Start, end and cost (hundredths of a token) of each piece, without gaps."""
    for match in _PIECE.finditer(text):
        start, end = match.span()
        kind = match.lastindex or 0
        cost = _COSTS[kind][end - start]
        if kind == _HAN_KIND:
            common = len(text[start:end].encode("gb2312", "ignore")) // 2
            cost += _UNCOMMON * (end - start - common)
        yield start, end, cost


def _tokens(cost: int) -> int:
    return max(1, (cost + 50) // 100) if cost else 0


def count(text: str) -> int:
    """The tokens of `text`, estimated; 0 only for the empty text."""
    return _tokens(sum(cost for _, _, cost in _pieces(text)))


class Counter:
    """Counts a text that arrives in pieces; however it is cut, the total is the same.

    Only the piece that may still grow is kept, at most 128 characters.
    """

    def __init__(self) -> None:
        self._settled = 0
        self._open = 0
        self._tail = ""

    @property
    def total(self) -> int:
        """The tokens of all that was added."""
        return _tokens(self._settled + self._open)

    def add(self, piece: str) -> None:
        """Count `piece` as what follows."""
        if not piece:
            return
        text = self._tail + piece
        settled, cost, start = self._settled, 0, 0
        for begin, _, next_cost in _pieces(text):
            settled += cost
            start, cost = begin, next_cost
        self._settled, self._open, self._tail = settled, cost, text[start:]

    def take(self, piece: str, limit: int) -> str:
        """Add as much of `piece` as keeps `total` within `limit`; what was added.

        What is cut off is lost to this counter: after a shorter answer than `piece`
        the text has ended.
        """
        text = self._tail + piece
        cost, fits = self._settled, 0
        for start, end, more in _pieces(text):
            if _tokens(cost + more) > limit:
                fits = start + _fitting(text[start:end], cost, limit)
                break
            cost, fits = cost + more, end
        taken = piece[: max(0, fits - len(self._tail))]
        self.add(taken)
        return taken


def _fitting(piece: str, cost: int, limit: int) -> int:
    """How many characters of one piece keep `cost` within `limit`."""
    for length in range(len(piece) - 1, 0, -1):
        if _tokens(cost + sum(c for _, _, c in _pieces(piece[:length]))) <= limit:
            return length
    return 0
