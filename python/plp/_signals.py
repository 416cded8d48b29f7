"""Signals that ask a program to end: Ctrl-C, and what schedulers, containers and closing terminals send."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption(KeyboardInterrupt):
    """Ctrl-C, or another signal that asks for the same; ``number`` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def interruptions() -> Iterator[None]:
    """Within, the first of SIGINT, SIGTERM and SIGHUP raises an :class:`Interruption`, as Ctrl-C does.

    There is then something to save. A second one ends the process at once, but not SIGHUP: a terminal that closes sends
    it more than once. What the process was started to ignore, as under nohup, it ignores. For programs: a library
    leaves signals to the program that uses it.
    """

    def hear(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN if other == signal.SIGHUP else signal.SIG_DFL)
        raise Interruption(number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in ENDING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Within, the first of SIGINT, SIGTERM and SIGHUP that is handled waits for the end; a second one does not.

    So what was begun is known when it is heard.
    """
    heard: list[int] = []

    def keep(number: int, frame: FrameType | None) -> None:
        if heard:
            before[number](number, frame)
        heard.append(number)

    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for ending in ENDING:
            if callable(handler := signal.getsignal(ending)):
                before[ending] = handler
                signal.signal(ending, keep)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])
