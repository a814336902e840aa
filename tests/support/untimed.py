"""The machine without time: who waits for whom on its links."""

from __future__ import annotations

import copy
from collections import deque

from support.random_programs import RandomProgram

from etchnet.hdl.isa import Counter, Pass, RunCommand

ANSWER = 2 * len(Counter)
"""link words of an answer to a COUNTERS packet"""


class Tokens:
    """The machine without time: which packets it takes, and which words it sends, once it has been given enough time.

    The tokens have the names of `hdl.core.control.tokens`. Waiting for them is all that can go wrong: a packet that
    waits forever holds up everything after it.

    Attributes
    ----------
    limit
        Link words that the host takes, in all.
    produced
        For each output and each answer so far, its link words, command and program; None for an answer.
    most
        For each token, the largest number at once.
    """

    def __init__(self, word_chunks: int) -> None:
        self._chunks = word_chunks
        self.input_free, self.input_full, self.output_free = 2, 0, 2
        self.weights_free = self.weights_full = 0
        self.pending: tuple[RunCommand, RandomProgram] | None = None
        self._run: deque[tuple[RunCommand, RandomProgram, Pass]] = deque()
        self._unsent: deque[int] = deque()
        self.answering = False
        self.limit = 0
        self._taken = 0
        self.produced: list[tuple[int, RunCommand | None, RandomProgram | None]] = []
        self.most: dict[str, int] = {}

    @property
    def idle(self) -> bool:
        """Whether every run has ended."""
        return not self._run and self.pending is None

    @property
    def waits_for_input(self) -> bool:
        return bool(self._run) and self._run[0][2].wait_input and not self.input_full

    @property
    def waits_for_weights(self) -> bool:
        return bool(self._run) and self._run[0][2].wait_weights and not self.weights_full

    @property
    def next_end(self) -> int | None:
        """The limit with which the next output or answer would leave; None if there is none."""
        return self._taken + self._unsent[0] if self._unsent else None

    def unlimited(self) -> int:
        """Return the number of words that leave if the host takes all."""
        other = copy.copy(self)
        other._run, other._unsent = deque(self._run), deque(self._unsent)
        other.produced, other.most = [*self.produced], {**self.most}
        other.limit = 1 << 60
        other.advance()
        return other._taken

    def advance(self) -> None:
        """Go on until everything waits."""
        moved = True
        while moved:
            counts = {
                "input_full": self.input_full,
                "weights_free": self.weights_free,
                "weights_full": self.weights_full,
                "output_full": len(self._unsent),
            }
            self.most |= {name: max(count, self.most.get(name, 0)) for name, count in counts.items()}
            moved = False
            if self.pending is not None and not self._run:
                command, program = self.pending
                self._run.extend((command, program, p) for _ in range(command.repeats) for p in program.passes)
                self.pending, moved = None, True
            while self._run and self._issue():
                moved = True
            if self.answering and self.idle and not self._unsent:
                self._unsent.append(ANSWER)
                self.produced.append((ANSWER, None, None))
            while self._unsent and self._taken + self._unsent[0] <= self.limit:
                self._taken += self._unsent.popleft()
                moved = True
                if self.produced[len(self.produced) - len(self._unsent) - 1][1] is None:
                    self.answering = False
                else:
                    self.output_free += 1

    def _issue(self) -> bool:
        command, program, p = self._run[0]
        if p.wait_input and not self.input_full:
            return False
        if (p.wait_weights and not self.weights_full) or (p.wait_output and not self.output_free):
            return False
        self._run.popleft()
        self.weights_full -= p.wait_weights
        self.output_free -= p.wait_output
        self.input_full -= p.release_input
        self.input_free += p.release_input
        self.weights_free += p.release_weights
        if p is program.passes[-1]:
            size = command.output_words * self._chunks
            self._unsent.append(size)
            self.produced.append((size, command, program))
        return True
