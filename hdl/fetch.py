"""The program memories: a list of instructions, delivered in order as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.bus import LoadableMemory, load_bus
from etchnet.hdl.config import Config
from etchnet.hdl.hierarchy import submodule
from etchnet.hdl.isa import Instruction

__all__ = ["InstructionMemory"]


class InstructionMemory(wiring.Component):
    """Holds instructions; after `start`, streams `count` of them from `first` on, `repeats` times over, without a gap.

    The first is valid `latency` cycles after `start`; from then on there is one every cycle that takes one. `final`
    marks the last instruction of the last repeat. `start` may only come when everything asked for before has been
    taken.
    """

    def __init__(self, instruction: type[Instruction], config: Config, *, depth: int, init: Sequence[int] = ()) -> None:
        self._config, self._layout, self._depth, self._init = config, instruction.layout(config), depth, init
        self._name = f"{instruction.__name__.lower()}_program"
        super().__init__(
            {
                "write": In(1),
                "bus": In(load_bus(config)),
                "start": In(1),
                "first": In(range(depth)),
                "count": In(range(depth + 1)),
                "repeats": In(32),
                "instructions": Out(
                    stream.Signature(data.StructLayout({"fields": self._layout, "final": unsigned(1)}))
                ),
            }
        )

    _READ = 1
    """Cycles of the memory's read: the head of the stream is the register behind it."""

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from `start` to the first instruction."""
        return InstructionMemory._READ + 2

    def elaborate(self, platform: Any) -> Module:
        """Address counter, memory, output register."""
        m = Module()
        memory = LoadableMemory(
            self._config, bits=self._layout.size, depth=self._depth, init=self._init, name=self._name,
            latency=self._READ,
        )  # fmt: skip
        submodule(m, platform, "memory", memory, variant=self._name)
        m.d.comb += [memory.write.eq(self.write), memory.bus.eq(self.bus)]

        fetching = Signal()
        address = Signal(range(self._depth))
        left = Signal.like(self.count)
        repeats_left = Signal.like(self.repeats)
        read_valid, read_final = Signal(), Signal()
        valid, head = Signal(), Signal.like(self.instructions.payload)

        take_head, take_read, last = Signal(), Signal(), Signal()
        m.d.comb += [
            take_head.eq(~valid | self.instructions.ready),
            take_read.eq(~read_valid | take_head),
            last.eq((left == 1) & (repeats_left == 1)),
            memory.address.eq(address),
            memory.enable.eq(take_read),
            self.instructions.valid.eq(valid),
            self.instructions.payload.eq(head),
        ]
        with m.If(take_read):
            m.d.sync += [read_valid.eq(fetching), read_final.eq(last)]
            with m.If(fetching):
                m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
                with m.If(left == 1):
                    m.d.sync += [
                        address.eq(self.first),
                        left.eq(self.count),
                        repeats_left.eq(repeats_left - 1),
                        fetching.eq(~last),
                    ]
        with m.If(take_head):
            m.d.sync += [valid.eq(read_valid), head.fields.eq(memory.data), head.final.eq(read_final)]
        with m.If(self.start):
            m.d.sync += [
                fetching.eq(1),
                address.eq(self.first),
                left.eq(self.count),
                repeats_left.eq(self.repeats),
            ]
        return m
