"""The output memory: results on their way to the outgoing link, in two halves."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram, read_port
from etchnet.hdl.core.output.row_writer import RowWriter
from etchnet.hdl.isa.config import Config

__all__ = ["ResultMemory"]


class ResultMemory(wiring.Component):
    """Two halves of `output_words` words: the output stage fills one while the sender reads the other.

    Writes go to the current half; after `commit` the other half is the current one. The number of words to send is
    stored with each commit, because another run may have started before the half is sent. The memory does not track
    which halves are free: see `Tokens`.

    ============  =========  ========================  =============================================================
    port          direction  shape                     meaning
    ============  =========  ========================  =============================================================
    write         in         `RowWriter.write_layout`  a result; stored if its `output` is set
    commit        in         1                         this cycle's write is the last of the half
    output_words  in         0 to `output_words`       words to send of a half that this cycle commits
    committed     out        1                         `commit`, `commit_delay` cycles later: the half may be read
    read          in         `read_port`               read port of both halves, the half in the highest address bit
    words         out        0 to `output_words`       words to send of the half that `read.address` is in
    ============  =========  ========================  =============================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        words = unsigned(config.output_words.bit_length())
        super().__init__(
            {
                "write": In(RowWriter.write_layout(config)),
                "commit": In(1),
                "output_words": In(words),
                "committed": Out(1),
                "read": In(read_port(2 * config.output_words, 8 * config.rows)),
                "words": Out(words),
            }
        )

    @staticmethod
    def commit_delay(config: Config) -> int:
        """Return the cycles by which writes are delayed in front of the memory, as in front of the other memories."""
        return Ram.waits_of(config.memory_latency)

    def elaborate(self, platform: Any) -> Module:
        """Delay the writes, count the halves, remember their lengths."""
        m = Module()
        config, write, waits = self._config, self.write, self.commit_delay(self._config)
        memory = Ram(bits=8 * config.rows, depth=2 * config.output_words, lanes=config.tiles_per_word, name="results")
        submodule(m, platform, "memory", memory)
        committed = delay(m, self.commit, waits, name="commit")
        write_half = Signal()
        words = [Signal.like(self.words, name=f"words_{half}") for half in range(2)]
        with m.If(committed):
            m.d.sync += write_half.eq(~write_half)
            with m.If(write_half):
                m.d.sync += words[1].eq(self.output_words)
            with m.Else():
                m.d.sync += words[0].eq(self.output_words)
        word = delay(m, Cat(write.data, write.address), waits, name="result", resets=False)
        lanes = delay(m, write.lanes & write.output.replicate(config.tiles_per_word), waits, name="result_lanes")
        address = word[len(write.data) :][: config.address_bits(config.output_words)]
        m.d.comb += [
            self.committed.eq(committed),
            self.words.eq(Mux(self.read.address[-1], words[1], words[0])),
            memory.write_address.eq(Cat(address, write_half)),
            memory.write_data.eq(word),
            memory.write_lanes.eq(lanes),
            memory.address.eq(self.read.address),
            memory.enable.eq(self.read.enable),
            self.read.data.eq(memory.data),
        ]
        return m
