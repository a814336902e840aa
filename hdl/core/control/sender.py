"""The outgoing link: committed halves of the output memory, and the counters."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.isa import COUNTER_BITS, Counter, chunks
from etchnet.hdl.isa.config import Config

__all__ = ["Sender"]


class Sender(wiring.Component):
    """Sends `words` memory words of every committed half, in order; each is cut into link words, lowest bits first.

    The first link word is valid `latency` cycles after `full` rises; the next ones follow without a gap as fast as they
    are accepted, also from one half to the next. On `counters`, which must only come when no half is left to send,
    every counter leaves as two link words, the low 32 bits first.

    =============  =========  ==========================  ==============================================================
    port           direction  shape                       meaning
    =============  =========  ==========================  ==============================================================
    link           out        stream of `link_bits`       results and counters
    last           out        1                           the offered link word is the last of a half or of the counters
    words          in         0 to `output_words`         memory words to send of the half that is read
    full           in         1                           there is a committed half
    half_read      out        1                           the last word of a half is read
    half_sent      out        1                           the last link word of a half is accepted
    enable         out        1                           read a memory word
    address        out        below 2 x `output_words`    memory word to read, the half in the highest bit
    data           in         8 x rows                    the memory word, a cycle later and until the next read
    counters       in         1                           send the counters, until `counters_done`
    totals         in         `Counter` x `COUNTER_BITS`  the counters
    counters_done  out        1                           the last link word of the counters is accepted
    =============  =========  ==========================  ==============================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "link": Out(stream.Signature(config.link_bits)),
                "last": Out(1),
                "words": In(config.output_words.bit_length()),
                "full": In(1),
                "half_read": Out(1),
                "half_sent": Out(1),
                "enable": Out(1),
                "address": Out(range(2 * config.output_words)),
                "data": In(8 * config.rows),
                "counters": In(1),
                "totals": In(data.ArrayLayout(unsigned(COUNTER_BITS), len(Counter))),
                "counters_done": Out(1),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from a committed half to its first link word."""
        return 1

    def elaborate(self, platform: Any) -> Module:
        """Count addresses and chunks, read, select the chunk."""
        m = Module()
        config = self._config
        count = chunks(8 * config.rows, config)
        word, chunk, half = Signal(range(config.output_words)), Signal(range(max(2, count))), Signal()
        valid, sent_chunk, sent_last = Signal(), Signal.like(chunk), Signal()
        advance, last_chunk, last = Signal(), Signal(), Signal()
        m.d.comb += [
            advance.eq(~valid | self.link.ready),
            last_chunk.eq(chunk == count - 1),
            last.eq(last_chunk & (word == self.words - 1)),
            self.enable.eq(advance & self.full),
            self.address.eq(Cat(word, half)),
            self.half_read.eq(self.enable & last),
            self.half_sent.eq(valid & self.link.ready & sent_last),
        ]
        with m.If(advance):
            m.d.sync += [valid.eq(self.full), sent_chunk.eq(chunk), sent_last.eq(last)]
            with m.If(self.full):
                m.d.sync += chunk.eq(chunk + 1)
                with m.If(last_chunk):
                    m.d.sync += [chunk.eq(0), word.eq(word + 1)]
                with m.If(last):
                    m.d.sync += [word.eq(0), half.eq(~half)]

        # Counter words are selected a cycle ahead. CYCLES comes first, because the other totals are a cycle late.
        assert next(iter(Counter)) is Counter.CYCLES
        count = 2 * len(Counter)
        counted, following, chosen = Signal(32, reset_less=True), Signal(range(count), init=1), Signal(32)
        with m.Switch(Mux(self.counters, following, 0)):
            for counter in Counter:
                for part in range(2):
                    with m.Case(2 * counter + part):
                        m.d.comb += chosen.eq(self.totals[counter][32 * part : 32 * part + 32])
        m.d.comb += [
            self.last.eq(Mux(self.counters, following == 0, sent_last)),
            self.link.valid.eq(valid | self.counters),
            self.link.payload.eq(Mux(self.counters, counted, self.data.word_select(sent_chunk, config.link_bits))),
            self.counters_done.eq(self.counters & self.link.ready & (following == 0)),
        ]
        with m.If(~self.counters | self.link.ready):
            m.d.sync += counted.eq(chosen)
        with m.If(self.counters & self.link.ready):
            m.d.sync += following.eq(Mux(following == count - 1, 0, following + 1))
        return m
