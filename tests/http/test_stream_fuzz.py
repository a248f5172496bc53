"""A sample of the fuzzed streams; `stream_fuzz.py` runs as many as wanted."""

import pytest

from tests.http import stream_fuzz

_EACH = 300


@pytest.mark.parametrize("part", range(5))
def test_any_bytes_of_an_upstream_make_a_grammatical_stream(part: int) -> None:
    good, broken = stream_fuzz.run(range(part * _EACH, (part + 1) * _EACH))
    assert good > _EACH // 3 and broken > _EACH // 10
