"""A sample of the fuzzed streams; `stream_fuzz.py` runs as many as wanted."""

import pytest

from tests.http import stream_fuzz
from tests.http.stream_sdks import RAISED, SDKS

_EACH = 300


@pytest.mark.parametrize("part", range(5))
def test_any_bytes_of_an_upstream_make_a_grammatical_stream(part: int) -> None:
    good, broken = stream_fuzz.run(range(part * _EACH, (part + 1) * _EACH))
    assert good > _EACH // 3 and broken > _EACH // 10


@pytest.mark.parametrize("dialect", SDKS)
def test_the_official_clients_hear_a_whole_answer_or_raise(dialect: str) -> None:
    for seed in range(120):
        played = stream_fuzz.play(seed)
        try:
            done = SDKS[dialect](played.sent[dialect])
        except RAISED:
            done = False
        assert played.done or not done, f"seed {seed}: a broken answer looks whole"
        assert done or played.told is None, f"seed {seed}: a whole answer is not heard"
