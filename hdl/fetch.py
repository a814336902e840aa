"""The program memories: a list of instructions, delivered in order as a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    Parameters
    ----------
    instruction, config
        What it holds.
    depth, init
        How many, and the first ones.
    derived, derive, reset
        What comes beside the fields of an instruction, in the same cycle: a layout, its values for given fields, and
        those for fields that are all 0, as they are after a reset.
    """

    def __init__(
        self,
        instruction: type[Instruction],
        config: Config,
        *,
        depth: int,
        init: Sequence[int] = (),
        derived: data.StructLayout,
        derive: Callable[[Any], dict[str, Any]],
        reset: Mapping[str, int],
    ) -> None:
        self._derived, self._derive, self._reset = derived, derive, reset
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
                "instructions": Out(self.stream_of(self._layout, derived)),
            }
        )

    @staticmethod
    def stream_of(fields: data.StructLayout, derived: data.StructLayout) -> stream.Signature:
        """The stream of instructions."""
        return stream.Signature(data.StructLayout({"fields": fields, "derived": derived, "final": unsigned(1)}))

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from `start` to the first instruction: address, read, head."""
        return config.memory_latency + 2

    def elaborate(self, platform: Any) -> Module:
        """Address counter, memory, output register."""
        m = Module()
        memory = LoadableMemory(
            self._config, bits=self._layout.size, depth=self._depth, init=self._init, name=self._name,
            latency=1,
        )  # fmt: skip
        submodule(m, platform, "memory", memory, variant=self._name)
        m.d.comb += [memory.write.eq(self.write), memory.bus.eq(self.bus)]

        fetching = Signal()
        address = Signal(range(self._depth))
        left = Signal.like(self.count)
        repeats_left = Signal.like(self.repeats)
        read_valid, read_final = Signal(), Signal()
        valid = Signal()
        head = Signal(data.StructLayout({"fields": self._layout, "final": unsigned(1)}))
        derived = Signal(self._derived, init=dict(self._reset))

        take_head, take_read, last = Signal(), Signal(), Signal()
        ahead: Any = memory.data
        ahead_valid, ahead_final, take_ahead = read_valid, read_final, Signal()
        if self._config.memory_latency > 1:
            # A register of its own behind the memory: what is derived takes the cycle behind that.
            ahead_valid, ahead_final = Signal(name="ahead_valid"), Signal(name="ahead_final")
            ahead = Signal(self._layout.size, name="ahead")
            with m.If(take_ahead):
                m.d.sync += [ahead_valid.eq(read_valid), ahead.eq(memory.data), ahead_final.eq(read_final)]
            m.d.comb += take_ahead.eq(~ahead_valid | take_head)
        else:
            m.d.comb += take_ahead.eq(take_head)
        fields = Signal(self._layout)
        m.d.comb += [
            fields.eq(ahead),
            take_head.eq(~valid | self.instructions.ready),
            take_read.eq(~read_valid | take_ahead),
            last.eq((left == 1) & (repeats_left == 1)),
            memory.address.eq(address),
            memory.enable.eq(take_read),
            self.instructions.valid.eq(valid),
            self.instructions.payload.fields.eq(head.fields),
            self.instructions.payload.final.eq(head.final),
            self.instructions.payload.derived.eq(derived),
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
            m.d.sync += [valid.eq(ahead_valid), head.fields.eq(fields), head.final.eq(ahead_final)]
            m.d.sync += [derived[name].eq(value) for name, value in self._derive(fields).items()]
        with m.If(self.start):
            m.d.sync += [
                fetching.eq(1),
                address.eq(self.first),
                left.eq(self.count),
                repeats_left.eq(self.repeats),
            ]
        return m
