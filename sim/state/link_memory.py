"""Memories that only packets write: programs, parameters, weights and input."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from etchnet.hdl.isa import Target, chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import word_bits
from etchnet.sim.engines.history import LinkWrite
from etchnet.sim.state.registers import MemoryView

__all__ = ["LinkMemory", "link_view"]


class LinkMemory:
    """The words that packets wrote to one target, at any cycle.

    Parameters
    ----------
    writes
        All packets that wrote a memory, in order.
    target
        The memory.
    config
        The machine.
    """

    def __init__(self, writes: list[LinkWrite], target: Target, config: Config) -> None:
        self._target, self._config = target, config
        self._writes = [w for w in writes if w.target is target]
        self._first = np.array([w.cycles[0, 0] for w in self._writes], dtype=np.int64)
        self._chunks = chunks(word_bits(target, config), config)
        self._cached = lru_cache(1 << 14)(self._read)

    def word(self, address: int, cycle: int) -> int:
        """Return a word at the start of a cycle: the writes of earlier cycles.

        Both halves of the input memory are addressed as one memory, the second after the first.
        """
        return self._cached(address, int(np.searchsorted(self._first, cycle)), cycle)

    def unchanged(self, start: int, stop: int) -> bool:
        """Return whether no packet writes the memory from cycle `start` up to `stop`, exclusive."""
        return not any(w.cycles[0, 0] < stop and w.cycles[-1, -1] >= start for w in self._writes)

    def _read(self, address: int, begun: int, cycle: int) -> int:
        """Return the word after the first `begun` packets, the last of which may be partly written."""
        size = self._config.link_bits // 8
        found: dict[int, bytes] = {}
        for write in reversed(self._writes[:begun]):
            words = self._config.input_words
            index = address - write.address - (write.half * words if self._target is Target.INPUT else 0)
            if 0 <= index < len(write.words):
                for chunk in np.flatnonzero(write.cycles[index] < cycle):
                    found.setdefault(int(chunk), write.words[index, chunk].astype("<u4").tobytes())
                if len(found) == self._chunks:
                    break
        return sum(int.from_bytes(data, "little") << 8 * size * chunk for chunk, data in found.items())


def link_view(memory: LinkMemory, first: int, bits: int, depth: int) -> MemoryView:
    """Return a gateware memory that stores `bits` bits of each packet word, from bit `first`."""
    return MemoryView(lambda row, cycle: memory.word(row, cycle) >> first & (1 << bits) - 1, depth, bits)
