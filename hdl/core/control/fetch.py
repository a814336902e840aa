"""The program memories: lists of instructions, each delivered as a stream."""

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
    """Streams `count` instructions from `first` on, `repeats` times, without a gap, after `start`.

    The first instruction is valid `latency` cycles after `start`; from then on there is one in every cycle that takes
    one. `start` must only come after everything requested before has been taken.

    The payload of the stream is the `head` (see `head_layout`) and, derived from its fields, the values that its user
    would otherwise have to compute at once.

    ============  =========  =============  ========================================================
    port          direction  shape          meaning
    ============  =========  =============  ========================================================
    write         in         1              store the chunk on `bus`
    bus           in         `load_bus`     a chunk of an instruction
    start         in         1              start to stream
    first         in         below `depth`  first instruction; stable until the last one was fetched
    count         in         0 to `depth`   instructions per repeat, at least 1; as stable
    repeats       in         32             number of repeats, at least 1; taken with `start`
    instructions  out        `stream_of`    the instructions
    ============  =========  =============  ========================================================

    Parameters
    ----------
    instruction, config
        The kind of instruction, and the machine.
    depth, init
        Number of instructions in the memory, and its initial contents.
    derived, derive, reset
        The derived values: their layout, a function that computes them from the fields of an instruction, and the
        values for fields that are all 0, which the registers have after reset.
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
        """Return the layout of an instruction of the stream.

        `fields`: all but the late ones. `final`: the last instruction of the last repeat. `place`: its address, with
        which late fields are looked up, for instructions that have some.
        """
        place = {"place": unsigned(config.address_bits(depth))} if instruction.LATE else {}
        return data.StructLayout({"fields": instruction.streamed(config), "final": unsigned(1), **place})

    @staticmethod
    def stream_of(
        instruction: type[Instruction], config: Config, depth: int, derived: data.StructLayout
    ) -> stream.Signature:
        """Return the signature of the stream: `head` and `derived` values."""
        head = InstructionMemory.head_layout(instruction, config, depth)
        return stream.Signature(data.StructLayout({"head": head, "derived": derived}))

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from `start` to the first instruction: address, read, head, and the queue if the read takes longer."""
        return config.memory_latency + 2 + (config.memory_latency > 1)

    def elaborate(self, platform: Any) -> Module:
        """Count addresses, read, hold the instruction at the head."""
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
            # The register of the memory is the only one before the head, and waits with it.
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
        """Set the address by which late fields are looked up, if there are any."""
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
        """Put a queue between memory and head, so that the head's `ready` does not reach the memory in the same cycle.

        The queue has room for all reads in flight: an entry that becomes free is used by a read two cycles later.
        Derived values are computed in front of the queue.
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
