"""Chores in the background: done at once, again and again, until they are stopped."""

from __future__ import annotations

import logging
import threading

import pytest

from kimi_proxy.errors import UpstreamUnreachable
from kimi_proxy.periodic import Periodic
from tests.flow.waiting import until


def stop(periodic: Periodic) -> None:
    periodic.stop()
    periodic.join(10)


class Chore:
    """Counts its calls; each may be told to fail."""

    def __init__(self, *errors: BaseException | None) -> None:
        self.calls = 0
        self._errors = list(errors)

    def __call__(self) -> None:
        self.calls += 1
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error


def test_a_chore_is_done_at_the_start_and_at_every_interval() -> None:
    chore = Chore()
    periodic = Periodic("chore", 0.001, chore)
    periodic.start()
    until(lambda: chore.calls > 5)
    stop(periodic)
    calls = chore.calls
    assert not [t for t in threading.enumerate() if t.name == "chore"]
    assert chore.calls == calls


def test_a_chore_can_be_asked_for_before_its_time() -> None:
    chore = Chore()
    periodic = Periodic("chore", 3600, chore)
    periodic.start()
    until(lambda: chore.calls == 1)
    periodic.nudge()
    until(lambda: chore.calls == 2)
    stop(periodic)


def test_a_chore_that_fails_is_logged_and_done_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "kimi_proxy")
    chore = Chore(UpstreamUnreachable("no route"), ValueError("a defect"))
    periodic = Periodic("chore", 0.001, chore)
    periodic.start()
    until(lambda: chore.calls > 2)
    stop(periodic)
    assert "chore: no route" in caplog.text
    assert "chore: failed by a defect" in caplog.text
    assert "Traceback" in caplog.text


def test_a_trouble_that_lasts_is_told_at_first_and_once_a_minute_until_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "kimi_proxy")
    times = iter(range(0, 1000, 10))  # every look at the clock is ten seconds later
    lasting = [UpstreamUnreachable("no route")] * 14
    chore = Chore(*lasting, None, UpstreamUnreachable("no route"))
    periodic = Periodic("chore", 0.001, chore, lambda: next(times))
    periodic.start()
    until(lambda: chore.calls > 17)
    stop(periodic)
    told = ["chore: no route"] * 3 + ["chore: works again"]
    again = ["chore: no route", "chore: works again"]
    assert [record.getMessage() for record in caplog.records] == told + again


def test_stopping_what_never_started_does_no_harm() -> None:
    stop(Periodic("chore", 3600, Chore()))
