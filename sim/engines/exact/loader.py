"""The loader process: takes packets off the link, fills the memories, and hands over tokens and commands."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.core.control.loader import Loader
from etchnet.hdl.isa import HEADER_WORDS, Header, RunCommand, Target, chunks
from etchnet.hdl.isa.packets import word_bits
from etchnet.sim.engines.exact.shared import SharedState
from etchnet.sim.engines.exact.tokens import Cycles, ReadyPattern, TransferLog
from etchnet.sim.engines.history import LinkWrite
from etchnet.sim.engines.link import LinkError

__all__ = ["LoaderProcess"]

_TARGETS = tuple(Target)


@dataclass(frozen=True)
class _Packet:
    """One packet: its header and its memory words."""

    target: Target
    header: Header
    words: np.ndarray
    """uint32 (memory words, chunks, link_bits / 32)"""


class LoaderProcess:
    """The loader: it follows the packets of every exchange, word by word.

    Parameters
    ----------
    shared
        Semaphores and memories.
    offers
        The cycles in which the host starts to offer a word.

    Attributes
    ----------
    sent
        The cycles in which words were taken.
    commands
        All RUN commands so far; the sequencer knows which of them it has run.
    counter_reads
        For each COUNTERS packet that is not answered yet, the first cycle in which the answer may leave. The loader
        takes no packet until it is empty.
    free
        The first cycle in which the loader can take a packet: after an answer to a COUNTERS packet, or 0.
    offered
        The first cycle in which the host can offer the next word: after the word before it was taken, and not before
        the exchange that it belongs to. A word is offered until it is taken, also while the loader waits.
    """

    def __init__(self, shared: SharedState, offers: ReadyPattern) -> None:
        self._config = config = shared.config
        self._programs, self._data, self._tokens = shared.programs, shared.data, shared.tokens
        self._history, self._offers = shared.history, offers
        self.sent = TransferLog(shared.progress)
        self.commands: list[RunCommand] = []
        self.counter_reads: list[int] = []
        self.free = self.offered = 0
        self._acquired = 0
        """halves of the input memory that packets have acquired and not committed"""
        self._depths = {
            Target.PASSES: config.passes,
            Target.DRAINS: config.drains,
            Target.PARAMETERS: config.parameter_words,
            Target.WEIGHTS: config.weight_words,
            Target.INPUT: config.input_words,
            Target.RUN: len(RunCommand.layout(config).members),
        }
        self._chunks = {target: chunks(word_bits(target, config), config) for target in self._depths}

    def load(self, words: np.ndarray) -> Iterator[None]:
        """Take whole packets: uint32 (link words, link_bits / 32). Yields while it waits.

        Raises
        ------
        LinkError
            A packet is not whole, names no target, does not fit its memory, or commits a half of the input memory that
            was not acquired; or more weights packets are committed than the machine counts.
        """
        position = 0
        while position < len(words):
            while self.counter_reads:
                yield
            packet, position = self._parse(words, position)
            self._move(self.free, HEADER_WORDS)
            if packet.target is Target.COUNTERS:
                self.counter_reads.append(self.offered)
            elif len(packet.words):
                self._check_halves(packet)
                yield from self._take(packet)

    def _move(self, ready: int, count: int) -> Cycles:
        """Take `count` words, the first of them from cycle `ready` on; return their cycles."""
        first = max(self._offers.first(self.offered), ready)
        rest = self._offers.take(first + 1, count - 1)
        cycles: Cycles = range(first, rest.stop) if isinstance(rest, range) else np.append(first, rest)
        self.sent.extend(cycles)
        self.offered = self.sent.last + 1
        return cycles

    def _parse(self, words: np.ndarray, position: int) -> tuple[_Packet, int]:
        """Return the packet that begins at `position`, and the position after it."""
        if len(words) - position < HEADER_WORDS:
            raise LinkError("a packet ends within its header: only whole packets may be sent")
        word, count = words[position : position + HEADER_WORDS, 0].tolist()
        header = Header.decode(word, self._config)
        if header.target >= len(_TARGETS):
            raise LinkError(f"a packet names target {header.target}; there are {len(_TARGETS)}")
        target, address = _TARGETS[header.target], header.address
        position += HEADER_WORDS
        if target is Target.COUNTERS:
            return _Packet(target, header, words[:0]), position
        size = self._chunks[target]
        payload = words[position : position + count * size]
        if len(payload) < count * size:
            raise LinkError(
                f"a packet of {count * size} link words ends after {len(payload)}: only whole packets may be sent"
            )
        depth = self._depths[target]
        if count and address + count > depth:
            raise LinkError(f"a {target.name} packet writes word {address + count - 1}; the last is {depth - 1}")
        return _Packet(target, header, payload.reshape(count, size, words.shape[1])), position + count * size

    def _check_halves(self, packet: _Packet) -> None:
        """Check that an INPUT packet commits only a half that was acquired."""
        if packet.target is Target.INPUT:
            self._acquired += packet.header.acquire
            if packet.header.commit and not self._acquired:
                raise LinkError("an INPUT packet commits a half of the input memory that no packet has acquired")
            self._acquired -= packet.header.commit

    def _take(self, packet: _Packet) -> Iterator[None]:
        """Take the words of a packet once it has the token that it needs; store them; put a token or a command."""
        target, header = packet.target, packet.header
        words = packet.words
        cycles = self._move((yield from self._acquire(packet)), words.shape[0] * words.shape[1])
        if target is Target.WEIGHTS and header.acquire:
            self._tokens.weights_free.use(int(cycles[0]))
        last = self.sent.last
        if target is Target.RUN:
            self.commands.append(self._command(words))
            self._tokens.run.put(last + 1)
            return
        if self._history is not None:
            half = self._data.write_half if target is Target.INPUT else 0
            strobes = np.asarray(cycles).reshape(words.shape[:2]) + Loader.latency(self._config)
            self._history.writes.append(LinkWrite(target, header.address, half, strobes, words.copy()))
        if target in (Target.PASSES, Target.DRAINS):
            self._programs.write(target, header.address, words)
        else:
            self._data.write(target, header.address, words)
        visible = last + Loader.latency(self._config) + 1
        if target is Target.INPUT and header.commit:
            self._data.write_half ^= 1
            self._tokens.input_full.put(visible)
        elif target is Target.WEIGHTS and header.commit:
            self._tokens.weights_full.put(visible, event=last)

    def _acquire(self, packet: _Packet) -> Generator[None, None, int]:
        """Wait for the token that a packet needs; return its cycle, or 0 if it needs none."""
        tokens = self._tokens
        if packet.target is Target.RUN:
            return (yield from tokens.run_taken.take())
        if packet.header.acquire and packet.target is Target.INPUT:
            return (yield from tokens.input_free.take())
        if packet.header.acquire and packet.target is Target.WEIGHTS:
            return (yield from tokens.weights_free.take())
        return 0

    def _command(self, words: np.ndarray) -> RunCommand:
        """Return the command in a RUN packet, from its words."""
        values = words[:, 0, 0].tolist()
        names = list(RunCommand.layout(self._config).members)
        fields = dict(zip(names, values, strict=False))
        positive = ("passes", "drains", "output_words", "repeats")
        if len(values) != len(names) or not all(fields[name] for name in positive):
            raise LinkError(
                f"a RUN packet must carry six numbers, all but the first and the third positive, not {values}"
            )
        return RunCommand(**fields)
