"""The row writer: a row of results as memory words."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.isa import Destination, Drain
from etchnet.hdl.isa.config import Config

__all__ = ["RowWriter"]


class RowWriter(wiring.Component):
    """Cuts each row into memory words and writes one per cycle, the first in the cycle in which the row arrives.

    A row of int8 fills ceil(columns / rows) words, the last padded with zeros; where columns divides rows, rows /
    columns column tiles share a word. A `wide` row (int32, little-endian) always starts a word of its own. A row for
    the accumulators is not written here, but ends a drain like any other. A row must not arrive before all words of the
    previous row are written.

    ========  =========  ======================  ==========================================================
    port      direction  shape                   meaning
    ========  =========  ======================  ==========================================================
    soon      in         `group_layout`          the group whose results arrive in the next cycle
    row_soon  in         1                       `soon` is the last group of its row
    now       in         `group_layout`          the group whose results arrive: `soon` of the cycle before
    row       in         `columns` x signed(32)  the row, complete with its last group
    write     out        `write_layout`          a memory word
    commit    out        1                       the last write of a drain with `commit`
    done      out        1                       the last write of a run
    ========  =========  ======================  ==========================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        group = DrainWalk.group_layout(config)
        super().__init__(
            {
                "soon": In(group),
                "row_soon": In(1),
                "now": In(group),
                "row": In(data.ArrayLayout(signed(32), config.columns)),
                "write": Out(self.write_layout(config)),
                "commit": Out(1),
                "done": Out(1),
            }
        )

    @staticmethod
    def write_layout(config: Config) -> data.StructLayout:
        """Return the layout of a memory word to write; `lanes` enables the column tiles that share it."""
        return data.StructLayout(
            {
                "activation": unsigned(1),
                "output": unsigned(1),
                "residual": unsigned(1),
                "address": Drain.layout(config)["address"].shape,
                "lanes": unsigned(config.tiles_per_word),
                "data": unsigned(8 * config.rows),
            }
        )

    def _words(self, group: Any) -> Any:
        """Return how many memory words the row of a group fills."""
        return Mux(group.wide, self._config.words_per_pixel(wide=True), self._config.words_per_pixel())

    def elaborate(self, platform: Any) -> Module:
        """Write the first word at once, and the others from a shift register."""
        m = Module()
        config, now, soon = self._config, self.now, self.soon
        # Whether the drain ends with this cycle's word, or with the last of the row's other words, is known a cycle
        # ahead.
        to_memory_soon, to_memory, ends_now, ends_rest, resting = (
            Signal(name=name) for name in ("to_memory_soon", "to_memory", "ends_now", "ends_rest", "resting")
        )
        to_accumulators = soon.destination == Destination.ACCUMULATORS
        extra = Signal(range(config.words_per_pixel(wide=True) + 1))
        rest_now = Signal(now.shape(), reset_less=True)
        rest_address = Signal(now.address.shape())
        words = self._words(now)
        m.d.comb += to_memory_soon.eq(self.row_soon & ~to_accumulators)
        m.d.sync += [
            to_memory.eq(to_memory_soon),
            ends_now.eq(self.row_soon & soon.drain_done & (to_accumulators | (self._words(soon) == 1))),
            ends_rest.eq(Mux(to_memory, now.drain_done & (words == 2), rest_now.drain_done & (extra == 2))),
            resting.eq(Mux(to_memory, words != 1, extra > 1)),
            extra.eq(Mux(to_memory, words - 1, extra - resting)),
            rest_address.eq(self.write.address + 1),
        ]
        with m.If(to_memory):
            m.d.sync += rest_now.eq(now)

        # Address and data do not depend on whether anything is written.
        destination, anything = Mux(to_memory, now.destination, rest_now.destination), to_memory | resting
        m.d.comb += [
            self.write.activation.eq(anything & (destination == Destination.ACTIVATION)),
            self.write.output.eq(anything & (destination == Destination.OUTPUT)),
            self.write.residual.eq(to_memory & (now.destination == Destination.RESIDUAL)),
            self.write.address.eq(Mux(to_memory, now.address, rest_address)),
            self.write.lanes.eq(Mux(to_memory & ~now.wide, 1 << now.lane, C(-1, config.tiles_per_word))),
            self.write.data.eq(self._cut(m, platform, to_memory_soon, to_memory)),
            self.commit.eq((ends_now & now.commit) | (ends_rest & rest_now.commit)),
            self.done.eq((ends_now & now.final) | (ends_rest & rest_now.final)),
        ]
        return m

    def _cut(self, m: Module, platform: Any, to_memory_soon: Signal, to_memory: Signal) -> Value:
        """Return the word to write: the first of the row if `to_memory`, else the next of the remaining ones."""
        config = self._config
        word_bits = 8 * config.rows
        narrow_bits, wide_bits = (config.words_per_pixel(wide=w) * word_bits for w in (False, True))
        narrow = Cat(*(value[:8] for value in self.row))
        if config.tiles_per_word > 1:
            narrow = narrow.replicate(config.tiles_per_word)
        padded = Cat(narrow, C(0, max(0, narrow_bits - 8 * config.columns)))
        whole = Signal(wide_bits)
        m.d.comb += whole.eq(Mux(self.now.wide, self.row.as_value(), padded))
        # The remaining words shift in every cycle, so that only the select signal fans out to all of them.
        rest = Signal(max(1, wide_bits - word_bits), name="rest", reset_less=True)
        choices = technology_of(platform).duplicate_register(
            m, to_memory_soon, to_memory, config.rows, name="to_memory"
        )
        shifted: list[Value] = []
        for first in range(0, wide_bits, 8):
            choice = choices[first // 8 % config.rows]
            shifted.append(Mux(choice, whole[first : first + 8], rest[first : first + 8]))
        m.d.sync += rest.eq(Cat(*shifted[config.rows :]))
        return Cat(*shifted[: config.rows])
