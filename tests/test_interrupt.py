"""Ctrl-C and SIGTERM: a flag, read where a loop can end in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from stsearch.interrupt import Interrupted, asked_by, check, flagged, number_of, pause


def pressed(*numbers: int) -> None:
    for number in numbers:
        signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_raises_nothing_until_it_is_looked_for(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with flagged(patient=True):
        check()
        pressed(number, signal.SIGINT, signal.SIGINT, signal.SIGTERM)
        with pytest.raises(Interrupted) as caught:
            check()
    assert number_of(caught.value) == number, "the first"
    assert signal.getsignal(number) is before
    check()  # nobody listens any more


def test_a_pause_ends_at_once() -> None:
    with flagged():
        pressed(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            pause(10_000)


def test_a_pause_ends_with_a_signal_that_comes_within_it() -> None:
    with flagged():
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(KeyboardInterrupt) as caught:
            pause(10_000)
    assert asked_by(caught.value) == "asked to end (SIGTERM)"


def test_inner_listeners_leave_the_outer_one_its_flag() -> None:
    with flagged():
        with flagged():
            pressed(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()
    with flagged():
        check()  # a new one begins without


def test_a_process_that_was_begun_deaf_stays_deaf_unless_it_must_listen() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with flagged():
            pressed(signal.SIGINT)
            check()
        with flagged(always=True):
            pressed(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_third_request_ends_the_process_at_once() -> None:
    code = """
import signal
from stsearch.interrupt import flagged
with flagged():
    for _ in range(3):
        signal.raise_signal(signal.SIGINT)
    print("still there")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (-signal.SIGINT, "")
    assert ended.stderr == "stopping as soon as it is safe; once more to end at once, as a kill would\n"
