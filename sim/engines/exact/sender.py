"""The sender processes: send committed halves of the output memory, and answer requests for the counters."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np

from etchnet.hdl.core.control.sender import Sender
from etchnet.hdl.isa import Counter, chunks
from etchnet.sim.engines.exact.loader import LoaderProcess
from etchnet.sim.engines.exact.sequencer import SequencerProcess
from etchnet.sim.engines.exact.shared import SharedState
from etchnet.sim.engines.exact.tokens import ReadyPattern, TransferLog

__all__ = ["SenderProcess"]


class SenderProcess:
    """The sender: it follows the words that leave the machine, up to as many as the host asks for.

    Parameters
    ----------
    shared
        Semaphores and memories.
    accepts
        The cycles in which the host takes a word.
    loader
        The process that takes requests for the counters, and waits for each answer.
    sequencer
        The process that commits halves, and counts.

    Attributes
    ----------
    received
        The cycles in which words left.
    free
        The first cycle in which a word can leave.
    wanted
        Words that the host still wants.
    """

    def __init__(
        self, shared: SharedState, accepts: ReadyPattern, loader: LoaderProcess, sequencer: SequencerProcess
    ) -> None:
        self._config = shared.config
        self._data, self._tokens = shared.data, shared.tokens
        self._accepts, self._loader, self._sequencer = accepts, loader, sequencer
        self.received = TransferLog(shared.progress)
        self.free = 0
        self.wanted = 0
        self._sent_halves = 0
        self._last_sent = 0
        self._counter_words: list[int] = []
        self._queue: list[tuple[bool, int]] = []
        """what has left since the last exchange: whether it was counters, and the number of link words"""

    def send(self) -> Iterator[None]:
        """Send every committed half, forever; yields while it waits."""
        size = chunks(8 * self._config.rows, self._config)
        while True:
            ready = (yield from self._tokens.output_full.take()) + Sender.latency(self._config)
            count = self._sequencer.half_words[self._sent_halves] * size
            yield from self._leave(ready, count, counters=False)
            self._last_sent = self.free - 1
            self._sent_halves += 1
            self._tokens.output_free.put(self.free)

    def answer(self) -> Iterator[None]:
        """Answer every request for the counters, forever; yields while it waits."""
        loader, sequencer = self._loader, self._sequencer
        while True:
            while not loader.counter_reads:
                yield
            # The counters are read when all runs are over and all results have left.
            while len(sequencer.finished) < len(loader.commands) or self._sent_halves < len(sequencer.half_words):
                yield
            # A run's last result is written before it leaves.
            ready = max(loader.counter_reads[0], self.free, self._last_sent + 2)
            totals = [sequencer.counts[counter] for counter in Counter]
            self._counter_words += [total >> 32 * part & 0xFFFFFFFF for total in totals for part in range(2)]
            loader.free = yield from self._leave(ready, 2 * len(totals), counters=True)
            self.free = loader.free
            sequencer.counts = dict.fromkeys(Counter, 0)
            loader.counter_reads.pop(0)

    def _leave(self, ready: int, count: int, *, counters: bool) -> Generator[None, None, int]:
        """Send `count` words that are ready from cycle `ready` on; return the cycle after the last of them."""
        while count:
            while not self.wanted:
                yield
            now = min(count, self.wanted)
            taken = self._accepts.take(max(ready, self.free), now)
            self.received.extend(taken)
            self._queue.append((counters, now))
            self.wanted -= now
            count -= now
            self.free = ready = int(taken[-1]) + 1
        return ready

    def collect(self, count: int) -> np.ndarray:
        """Return the words that have left since the last call: `count` of them, uint32 (count, link_bits / 32)."""
        queue, self._queue = self._queue, []
        results = self._data.take(sum(size for counters, size in queue if not counters))
        if len(results) == count:
            return results
        words = np.zeros((count, results.shape[1]), np.uint32)
        position, result = 0, 0
        for counters, size in queue:
            if counters:
                words[position : position + size, 0] = self._counter_words[:size]
                del self._counter_words[:size]
            else:
                words[position : position + size] = results[result : result + size]
                result += size
            position += size
        return words
