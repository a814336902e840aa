"""The operands of the requantisers: a group of accumulators, and their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.technology import technology_of
from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.loadable_memory import LoadableMemory, load_bus
from etchnet.hdl.isa import Parameters, Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import word_bits

__all__ = ["OperandSelect"]


class OperandSelect(wiring.Component):
    """Reads the parameters of a group, and selects its accumulators from their row.

    A group's parameters are requested in cycle t, with the read of its row. In cycle t + `AccumulatorBank.read_latency`
    the row is on `accumulators`, and `index` names the group. Both operands are on `values` and `parameters` in the
    cycle after, t + `latency`. One group per cycle, without flow control.

    =================  =========  ===============================  ==================================================
    port               direction  shape                            meaning
    =================  =========  ===============================  ==================================================
    write              in         1                                `bus` carries parameters
    bus                in         `load_bus`                       from the loader
    enable             in         1                                read the parameters of a group
    word               in         address of the parameter memory  address of these parameters
    accumulators       in         `columns` x signed(32)           a row
    index, index_soon  in         bits of `groups`                 the group of this row, and of the next cycle's row
    values             out        `requantisers` x signed(32)      the group's accumulators
    parameters         out        `requantisers` x `Parameters`    the group's parameters
    =================  =========  ===============================  ==================================================
    """

    def __init__(self, config: Config, *, init: Sequence[int] = ()) -> None:
        self._config, self._init = config, init
        index = unsigned(config.address_bits(config.groups))
        super().__init__(
            {
                "write": In(1),
                "bus": In(load_bus(config)),
                "enable": In(1),
                "word": In(range(config.parameter_words)),
                "accumulators": In(data.ArrayLayout(signed(32), config.columns)),
                "index": In(index),
                "index_soon": In(index),
                "values": Out(data.ArrayLayout(signed(32), config.requantisers)),
                "parameters": Out(data.ArrayLayout(Parameters.layout(config), config.requantisers)),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from the read of a row to its group at the requantisers: the read, and one to select."""
        return AccumulatorBank.read_latency(config) + 1

    def elaborate(self, platform: Any) -> Module:
        """Read the parameter memory, and select with a multiplexer per requantiser; both end in a register."""
        m = Module()
        config, n = self._config, self._config.requantisers
        memory = LoadableMemory(
            config,
            bits=word_bits(Target.PARAMETERS, config),
            depth=config.parameter_words,
            init=self._init,
            name="parameters",
            latency=AccumulatorBank.read_latency(config),
        )
        submodule(m, platform, "parameter_memory", memory, variant="parameters")
        m.d.comb += [
            memory.write.eq(self.write),
            memory.bus.eq(self.bus),
            memory.address.eq(self.word),
            memory.enable.eq(self.enable),
        ]
        selected = Signal(self.values.shape(), reset_less=True)
        chosen = Signal(self.parameters.shape(), reset_less=True)
        # Each multiplexer has its own register: a shared one would drive 32 bits of every requantiser.
        indices = technology_of(platform).duplicate_register(m, self.index_soon, self.index, n, name="index")
        for lane in range(n):
            choices = Cat(*(self.accumulators[first + lane] for first in range(0, config.columns, n)))
            m.d.sync += selected[lane].eq(choices.word_select(indices[lane], 32))
        m.d.sync += chosen.eq(memory.data)
        m.d.comb += [self.values.eq(selected), self.parameters.eq(chosen)]
        return m
