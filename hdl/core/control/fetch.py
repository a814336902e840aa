"""The program memories: a list of instructions, delivered in order as a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.core.loadable_memory import LoadableMemory, load_bus
from etchnet.hdl.isa import Instruction
from etchnet.hdl.isa.config import Config

__all__ = ["InstructionMemory"]


class InstructionMemory(wiring.Component):
    """Holds instructions; after `start`, streams `count` of them from `first` on, `repeats` times over, without a gap.

    The first is valid `latency` cycles after `start`; from then on there is one every cycle that takes one. `final`
    marks the last instruction of the last repeat. `start` may only come when everything asked for before has been
    taken.

    Late fields are held elsewhere: `place`, beside an instruction that has some, is where in the memory it was.

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
        self._config, self._layout, self._depth, self._init = config, instruction.streamed(config), depth, init
        self._late = instruction.layout(config).size - self._layout.size
        self._name = f"{instruction.__name__.lower()}_program"
        self._head = self.head_layout(instruction, config, depth)
        super().__init__(
            {
                "write": In(1),
                "bus": In(load_bus(config)),
                "start": In(1),
                "first": In(range(depth)),
                "count": In(range(depth + 1)),
                "repeats": In(32),
                "instructions": Out(self.stream_of(instruction, config, depth, derived)),
            }
        )

    @staticmethod
    def head_layout(instruction: type[Instruction], config: Config, depth: int) -> data.StructLayout:
        """An instruction of the stream, and what comes with it."""
        place = {"place": unsigned(config.address_bits(depth))} if instruction.LATE else {}
        return data.StructLayout({"fields": instruction.streamed(config), "final": unsigned(1), **place})

    @staticmethod
    def stream_of(
        instruction: type[Instruction], config: Config, depth: int, derived: data.StructLayout
    ) -> stream.Signature:
        """The stream of instructions."""
        head = InstructionMemory.head_layout(instruction, config, depth)
        return stream.Signature(data.StructLayout({"head": head, "derived": derived}))

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from `start` to the first instruction: address, read, head; and the queue, where there is one."""
        return config.memory_latency + 2 + (config.memory_latency > 1)

    def elaborate(self, platform: Any) -> Module:
        """Address counter, memory, and the instruction at the head."""
        m = Module()
        latency = self._config.memory_latency
        memory = LoadableMemory(
            self._config,
            bits=self._layout.size,
            first=self._late,
            depth=self._depth,
            init=self._init,
            name=self._name,
            latency=latency,
        )
        submodule(m, platform, "memory", memory, variant=self._name)
        m.d.comb += [memory.write.eq(self.write), memory.bus.eq(self.bus)]

        fetching = Signal()
        address = Signal(range(self._depth))
        left = Signal.like(self.count)
        repeats_left = Signal.like(self.repeats)
        layout = self._head
        head = Signal(layout, reset_less=True)
        derived = Signal(self._derived, init=dict(self._reset), reset_less=True)
        valid, read, last, take_head = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq((left == 1) & (repeats_left == 1)),
            take_head.eq(~valid | self.instructions.ready),
            memory.address.eq(address),
            self.instructions.valid.eq(valid),
            self.instructions.payload.head.eq(head),
            self.instructions.payload.derived.eq(derived),
        ]
        ahead, derived_ahead, ahead_valid = Signal(layout, name="ahead"), Signal.like(derived), Signal()
        if latency > 1:
            self._queue(m, memory, fetching, address, last, read, ahead, derived_ahead, ahead_valid, take_head)
        else:
            # The memory's own register is the only one before the head, and waits with it.
            read_valid, read_final, read_address = Signal(), Signal(), Signal.like(address)
            m.d.comb += [
                read.eq(~read_valid | take_head),
                memory.enable.eq(read),
                ahead.fields.eq(memory.data),
                ahead.final.eq(read_final),
                *self._placed(ahead, read_address),
                *(derived_ahead[name].eq(value) for name, value in self._derive(ahead.fields).items()),
                ahead_valid.eq(read_valid),
            ]
            with m.If(read):
                m.d.sync += [read_valid.eq(fetching), read_final.eq(last)]
                if self._late:
                    m.d.sync += read_address.eq(address)
        with m.If(read & fetching):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += [
                    address.eq(self.first),
                    left.eq(self.count),
                    repeats_left.eq(repeats_left - 1),
                    fetching.eq(~last),
                ]
        with m.If(take_head):
            m.d.sync += valid.eq(ahead_valid)
        with m.If(take_head & ahead_valid):
            m.d.sync += [head.eq(ahead), derived.eq(derived_ahead)]
        with m.If(self.start):
            m.d.sync += [
                fetching.eq(1),
                address.eq(self.first),
                left.eq(self.count),
                repeats_left.eq(self.repeats),
            ]
        return m

    def _placed(self, head: Any, address: Any) -> list[Any]:
        """Where late fields are to be looked up."""
        return [head.place.eq(address)] if self._late else []

    def _queue(
        self,
        m: Module,
        memory: LoadableMemory,
        fetching: Any,
        address: Any,
        last: Any,
        read: Any,
        ahead: Any,
        derived_ahead: Any,
        ahead_valid: Any,
        take_head: Any,
    ) -> None:
        """A queue between memory and head, so that whether the head is taken does not reach the memory in that cycle.

        There is room for what is on its way: a place that becomes free is read for two cycles later. What is derived
        from an instruction is put into the queue with it.
        """
        latency = self._config.memory_latency
        size = 1 << (latency + 2).bit_length()
        arrived = Signal.like(ahead, name="arrived")
        derived = Signal.like(derived_ahead, name="derived_arrived")
        width = len(arrived.as_value()) + len(derived.as_value())
        queue = Memory(shape=unsigned(width), depth=size, init=[])
        m.submodules.queue = queue
        write, look = queue.write_port(), queue.read_port(domain="comb")
        count, room = Signal(range(size + 1)), Signal(range(size + 1), init=size)
        arriving = delay(m, Cat(read & fetching, last), latency, name="arriving")
        place = delay(m, address, latency, name="place", resets=False) if self._late else None
        taken, freed, some = Signal(), Signal(), Signal()
        m.d.comb += [
            read.eq(room != 0),
            memory.enable.eq(read & fetching),
            arrived.fields.eq(memory.data),
            arrived.final.eq(arriving[1]),
            *self._placed(arrived, place),
            *(derived[name].eq(value) for name, value in self._derive(arrived.fields).items()),
            write.data.eq(Cat(arrived, derived)),
            write.en.eq(arriving[0]),
            Cat(ahead, derived_ahead).eq(look.data),
            ahead_valid.eq(some),
            taken.eq(take_head & ahead_valid),
        ]
        m.d.sync += [
            count.eq(count + arriving[0] - taken),
            some.eq(arriving[0] | Mux(taken, count[1:].any(), some)),
            freed.eq(taken),
            room.eq(room + freed - (read & fetching)),
        ]
        with m.If(arriving[0]):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(taken):
            m.d.sync += look.addr.eq(look.addr + 1)
