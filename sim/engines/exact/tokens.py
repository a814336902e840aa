"""Tokens, with the cycles from which they can be taken, and the cycles of transfers on the link."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from etchnet.hdl.core.control.tokens import WEIGHT_TOKENS
from etchnet.sim.engines.link import LinkError

__all__ = ["Cycles", "MachineTokens", "Progress", "ReadyPattern", "TokenQueue", "TransferLog"]

Cycles = range | np.ndarray
"""Ascending cycles: a range if they are consecutive, else int64."""


@dataclass
class Progress:
    """A count of tokens and transfers: the processes are deadlocked when a round of all of them adds none."""

    events: int = 0


class ReadyPattern:
    """The cycles in which one end of a link is ready.

    Parameters
    ----------
    pattern
        bool, one entry per cycle since reset; that end of the link is ready in every later cycle.
    """

    def __init__(self, pattern: object) -> None:
        self._pattern = np.asarray(pattern, dtype=bool)
        self._cycles = np.flatnonzero(self._pattern)

    def first(self, start: int) -> int:
        """Return the first ready cycle from `start` on."""
        return start if start >= len(self._pattern) else int(self.take(start, 1)[0])

    def take(self, start: int, count: int) -> Cycles:
        """Return the first `count` ready cycles from `start` on."""
        end = len(self._pattern)
        if start >= end:
            return range(start, start + count)
        inside = self._cycles[np.searchsorted(self._cycles, start) :][:count]
        beyond = max(start, end) + np.arange(count - len(inside))
        return np.concatenate([inside, beyond])


class TransferLog:
    """The cycles in which one end of the link has moved words, in order.

    Attributes
    ----------
    count
        Words moved.
    last
        Cycle of the last one; -1 before the first.
    """

    def __init__(self, progress: Progress) -> None:
        self._pieces: list[Cycles] = []
        self._progress = progress
        self.count = 0
        self.last = -1

    def extend(self, cycles: Cycles) -> None:
        """Add cycles, all later than `last`."""
        if len(cycles):
            self._pieces.append(cycles)
            self.count += len(cycles)
            self._progress.events += 1
            self.last = int(cycles[-1])

    def cycles(self) -> np.ndarray:
        """Return all cycles: int64 (count,)."""
        return np.concatenate([np.zeros(0, np.int64), *map(np.asarray, self._pieces)])


@dataclass
class TokenQueue:
    """The tokens of one semaphore: the cycle from which each can be taken, in order, and the number taken.

    With a `limit`, that many tokens may be outstanding, from the cycle of the event that puts one to the cycle in which
    it is used. Tokens of other semaphores cannot be more than there are halves of a memory.
    """

    progress: Progress
    times: list[int] = field(default_factory=list)
    taken: int = 0
    limit: int | None = None
    meaning: str = ""
    """with a limit: what the tokens stand for, for the error"""
    _events: list[int] = field(default_factory=list)
    _uses: list[int] = field(default_factory=list)

    def put(self, cycle: int, *, event: int | None = None) -> None:
        """Add a token that can be taken from `cycle` on; with a limit, `event` is the cycle that brings it about.

        Raises LinkError if it goes beyond the limit, as far as the uses of earlier tokens are known.
        """
        self.times.append(cycle)
        self.progress.events += 1
        if event is not None:
            self._events.append(event)
            self._check(len(self._events) - 1)

    def use(self, cycle: int) -> None:
        """Record the cycle in which the next token is used; raise LinkError if later ones came beyond the limit."""
        self._uses.append(cycle)
        if self.limit is not None:
            self._check(len(self._uses) - 1 + self.limit)

    def _check(self, index: int) -> None:
        """Check that a token, if it has been put, came when the one `limit` before it had been used."""
        earlier = index - (self.limit or 0)
        known = 0 <= earlier < len(self._uses) and index < len(self._events)
        if known and self._events[index] < self._uses[earlier]:
            raise LinkError(f"more than {self.limit} {self.meaning} at once")

    def peek(self) -> Generator[None, None, int]:
        """Wait until the next token's cycle is known, and return it."""
        while self.taken >= len(self.times):
            yield
        return self.times[self.taken]

    def take(self) -> Generator[None, None, int]:
        """Wait until the next token's cycle is known, take the token, and return that cycle."""
        cycle = yield from self.peek()
        self.taken += 1
        self.progress.events += 1
        return cycle


class MachineTokens:
    """The semaphores between loader, sequencer and sender, as they are after reset.

    Attributes
    ----------
    input_free, output_free
        Halves of the input and output memories that may be filled; both are free at first.
    input_full, output_full
        Halves that have been filled.
    weights_free, weights_full
        Weight packets that passes have allowed, and those that have arrived.
    run, run_taken
        RUN commands that have arrived, and room for one more.
    """

    def __init__(self, progress: Progress) -> None:
        self.input_free, self.input_full = TokenQueue(progress, [0, 0]), TokenQueue(progress)
        self.output_free, self.output_full = TokenQueue(progress, [0, 0]), TokenQueue(progress)
        self.weights_free = TokenQueue(
            progress, limit=WEIGHT_TOKENS, meaning="weights packets are permitted by passes and not sent yet"
        )
        self.weights_full = TokenQueue(
            progress, limit=WEIGHT_TOKENS, meaning="committed weights packets wait for the passes that use them"
        )
        self.run, self.run_taken = TokenQueue(progress), TokenQueue(progress, [0])
