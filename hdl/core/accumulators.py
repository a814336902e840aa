"""One bank of accumulators and the adders that fold into it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.compare import less
from etchnet.hdl.blocks.delay_line import delay_line
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.isa import Fold
from etchnet.hdl.isa.config import Config

__all__ = ["AccumulatorBank"]


class AccumulatorLane(wiring.Component):
    """The adder of one column: `new`, `old` + `new`, or the larger of both, in one cycle.

    =======  =========  ==========  ====================================================================
    port     direction  shape       meaning
    =======  =========  ==========  ====================================================================
    add      in         1           add `new` to the old value, modulo 2**32
    largest  in         1           take the larger of `new` and the old value; with neither, take `new`
    held     in         1           the old value is the current `folded` instead of `old`
    old      in         signed(32)  the accumulator
    new      in         signed(32)  the sum to fold into it
    folded   out        signed(32)  the result, a cycle later
    =======  =========  ==========  ====================================================================
    """

    def __init__(self) -> None:
        super().__init__(
            {
                **{name: In(1) for name in ("add", "largest", "held")},
                **{name: In(signed(32)) for name in ("old", "new")},
                "folded": Out(signed(32)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Add and compare in parallel, select, register."""
        m = Module()
        folded = Signal(signed(32), reset_less=True)
        old, new = Mux(self.held, folded, self.old).as_signed(), self.new
        # Without `add`, 0 is added, so that a single 2:1 selection follows both carry chains.
        addend = old & Mux(self.add, C(-1, signed(32)), 0)
        # Written without a case that keeps the register: synthesis would turn it into a clock enable, and all bits
        # would wait for the carry of the comparison.
        keep = Signal(signed(1))
        m.d.comb += keep.eq(self.largest & less(new, old))
        m.d.sync += folded.eq((old & keep) | ((addend + new) & ~keep))
        m.d.comb += self.folded.eq(folded)
        return m


class AccumulatorBank(wiring.Component):
    """`accumulator_rows` rows of `columns` int32; each cycle sets, adds to (modulo 2**32) or maximises one row.

    A fold names its row in cycle t, takes `values` in cycle t + `read_latency` and is written in cycle t + `latency`;
    the row may be named again in the cycle after that. There is no flow control and one read port: a fold that adds or
    maximises must not coincide with a read, and a row must not be read while a fold of it is in flight. The idle cycles
    of the program ensure both; the bank does not check. A fold with `held` combines with the result of the fold in the
    cycle before, of the same row, and does not use the read port.

    ========  =========  ========================  ===================================================
    port      direction  shape                     meaning
    ========  =========  ========================  ===================================================
    fold      in         `fold_layout`             row to fold into, and how
    values    in         columns x signed(32)      values for the fold named `read_latency` cycles ago
    read      in         1                         read a row
    read_row  in         below `accumulator_rows`  row to read
    data      out        columns x signed(32)      the row named `read_latency` cycles ago
    ========  =========  ========================  ===================================================
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        values = data.ArrayLayout(signed(32), config.columns)
        super().__init__(
            {
                "fold": In(self.fold_layout(config)),
                "values": In(values),
                "read": In(1),
                "read_row": In(range(config.accumulator_rows)),
                "data": Out(values),
            }
        )

    @staticmethod
    def fold_layout(config: Config) -> data.StructLayout:
        """Return the layout of a fold: `valid`, the `row`, how to `fold`, and `held`."""
        return data.StructLayout(
            {
                "valid": unsigned(1),
                "row": unsigned(config.address_bits(config.accumulator_rows)),
                "fold": Fold,
                "held": unsigned(1),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from naming a row to writing it."""
        return AccumulatorBank.read_latency(config) + 1

    @staticmethod
    def read_latency(config: Config) -> int:
        """Return the cycles from naming a row to its data."""
        return config.memory_latency

    def elaborate(self, platform: Any) -> Module:
        """Read the row, fold the values into it, write it."""
        m = Module()
        columns = self._config.columns
        layout = data.ArrayLayout(signed(32), columns)
        memory = Ram(
            bits=32 * columns,
            depth=self._config.accumulator_rows,
            name="accumulators",
            latency=self.read_latency(self._config),
        )
        submodule(m, platform, "memory", memory)
        m.d.comb += [
            memory.address.eq(Mux(self.read, self.read_row, self.fold.row)),
            memory.enable.eq(self.read | self.fold.valid),
            self.data.eq(memory.data),
        ]

        *_, before, folding = delay_line(m, self.fold, self.read_latency(self._config), name="folding")

        def control_of(fold: Any) -> Any:
            return Cat(fold.fold == Fold.ADD, fold.fold == Fold.MAX, fold.held)

        control = Signal(3)
        m.d.comb += control.eq(control_of(folding))
        controls = technology_of(platform).duplicate_register(m, control_of(before), control, columns, name="control")
        written = Signal(self.fold_layout(self._config))
        m.d.sync += written.eq(folding)
        folded = Signal(layout)
        for c in range(columns):
            lane = AccumulatorLane()
            submodule(m, platform, f"lane_{c}", lane)
            m.d.comb += [
                Cat(lane.add, lane.largest, lane.held).eq(controls[c]),
                lane.old.eq(self.data[c]),
                lane.new.eq(self.values[c]),
                folded[c].eq(lane.folded),
            ]
        m.d.comb += [
            memory.write_address.eq(written.row),
            memory.write_data.eq(folded),
            memory.write_lanes.eq(written.valid),
        ]
        return m
