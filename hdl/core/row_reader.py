"""The path of rows from the accumulator banks, or the residual memory, to the output stage."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay_line
from etchnet.hdl.blocks.ram import read_port
from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.isa.config import Config

__all__ = ["RowReader"]


class RowReader(wiring.Component):
    """Reads the row that the output stage requests, from either bank or from the residual memory.

    Values follow `latency` cycles after their `read`, one row per cycle, without flow control. Residuals are int8, and
    are sign-extended to int32.

    ========  =========  =======================  ===========================================================
    port      direction  shape                    meaning
    ========  =========  =======================  ===========================================================
    read      in         `DrainWalk.read_layout`  the row to read
    banks     out        2 x `read_port`          read ports of the two accumulator banks
    residual  out        `read_port`              read port of the residual memory, on machines that have one
    values    out        columns x int32          the row requested `latency` cycles ago
    ========  =========  =======================  ===========================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        residual = {"residual": Out(read_port(config.residual_words, 8 * config.rows))} if config.residual_words else {}
        super().__init__(
            {
                "read": In(DrainWalk.read_layout(config)),
                "banks": Out(read_port(config.accumulator_rows, 32 * config.columns)).array(2),
                **residual,
                "values": Out(data.ArrayLayout(signed(32), config.columns)),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from a read to its values."""
        return AccumulatorBank.read_latency(config)

    def elaborate(self, platform: Any) -> Module:
        """Read the requested memory, and select its data."""
        m = Module()
        config, read = self._config, self.read
        values = data.ArrayLayout(signed(32), config.columns)
        for index, bank in enumerate(self.banks):
            m.d.comb += [bank.enable.eq(read.valid & ~read.residual & (read.bank == index)), bank.address.eq(read.row)]
        *_, asked, answered = delay_line(m, read, self.latency(config), name="drain_read")
        chosen = technology_of(platform).duplicate_register(
            m, Cat(asked.bank, asked.residual), Cat(answered.bank, answered.residual), config.columns, name="drain_read"
        )
        first, second = (data.View(values, bank.data) for bank in self.banks)
        rows: list[Any] = [Mux(chosen[c][0], second[c], first[c]) for c in range(config.columns)]
        if config.residual_words:
            m.d.comb += [
                self.residual.enable.eq(read.valid & read.residual),
                self.residual.address.eq(read.row),
            ]
            residuals = data.View(data.ArrayLayout(signed(8), config.columns), self.residual.data)
            extended = Signal(values)
            m.d.comb += [extended[c].eq(residuals[c]) for c in range(config.columns)]
            rows = [Mux(chosen[c][1], extended[c], rows[c]) for c in range(config.columns)]
        m.d.comb += [self.values[c].eq(rows[c]) for c in range(config.columns)]
        return m
