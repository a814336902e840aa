"""The program memories: lists of instructions, each delivered as a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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


class _Fetch(NamedTuple):
    """The next read of the program memory."""

    fetching: Signal
    """whether there is one"""
    address: Signal
    last: Signal
    """whether it reads the last instruction of the last repeat"""


class _Ahead(NamedTuple):
    """An instruction on its way to the head of the stream."""

    head: Any
    derived: Any
    valid: Signal
    read: Signal
    """whether the memory can take a read in this cycle"""


class InstructionMemory(wiring.Component):
    """Streams `count` instructions from `first` on, `repeats` times, without a gap, after `start`.

    The first instruction is valid `latency` cycles after `start`; from then on one can be taken every cycle. `start`
    must not come before everything requested earlier has been taken.

    The payload of the stream is the instruction as `head` (see `head_layout`), and as `derived` values that are
    computed from its fields a stage ahead, to shorten the user's critical path.

    ============  =========  =============  =======================================================
    port          direction  shape          meaning
    ============  =========  =============  =======================================================
    write         in         1              store the chunk on `bus`
    bus           in         `load_bus`     a chunk of an instruction
    start         in         1              start to stream
    first         in         below `depth`  first instruction; stable until the last one is fetched
    count         in         0 to `depth`   instructions per repeat, at least 1; stable likewise
    repeats       in         32             number of repeats, at least 1; taken with `start`
    instructions  out        `stream_of`    the instructions
    ============  =========  =============  =======================================================

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

        `fields`: all except the late ones. `final`: it is the last instruction of the last repeat. `place`: its
        address, with which late fields are looked up; only for instructions that have some.
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
        """Return the cycles from `start` to the first instruction: address, read, head, and the queue if any."""
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
        head = Signal(self._head, reset_less=True)
        derived = Signal(self._derived, init=dict(self._reset), reset_less=True)
        valid, last, take_head = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq((left == 1) & (repeats_left == 1)),
            take_head.eq(~valid | self.instructions.ready),
            memory.address.eq(address),
            self.instructions.valid.eq(valid),
            self.instructions.payload.head.eq(head),
            self.instructions.payload.derived.eq(derived),
        ]
        follow = self._read_through_queue if latency > 1 else self._read_directly
        ahead = follow(m, memory, _Fetch(fetching, address, last), take_head)
        with m.If(ahead.read & fetching):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += [
                    address.eq(self.first),
                    left.eq(self.count),
                    repeats_left.eq(repeats_left - 1),
                    fetching.eq(~last),
                ]
        with m.If(take_head):
            m.d.sync += valid.eq(ahead.valid)
        with m.If(take_head & ahead.valid):
            m.d.sync += [head.eq(ahead.head), derived.eq(ahead.derived)]
        with m.If(self.start):
            m.d.sync += [
                fetching.eq(1),
                address.eq(self.first),
                left.eq(self.count),
                repeats_left.eq(self.repeats),
            ]
        return m

    def _arriving(self, name: str) -> _Ahead:
        """Return the signals of an instruction on its way to the head."""
        head = Signal(self._head, name=name)
        derived = Signal(self._derived, name=f"derived_{name}")
        return _Ahead(head, derived, Signal(name=f"{name}_valid"), Signal(name=f"{name}_read"))

    def _from_memory(self, m: Module, arrival: _Ahead, word: Any, final: Any, address: Any) -> None:
        """Add the derived values to a word of the memory, and the address by which late fields are looked up."""
        m.d.comb += [
            arrival.head.fields.eq(word),
            arrival.head.final.eq(final),
            *(arrival.derived[name].eq(value) for name, value in self._derive(arrival.head.fields).items()),
            *([arrival.head.place.eq(address)] if self._late else []),
        ]

    def _read_directly(self, m: Module, memory: LoadableMemory, fetch: _Fetch, take_head: Signal) -> _Ahead:
        """Read straight into the head: the memory's output register, the only stage before the head, stalls with it."""
        ahead = self._arriving("ahead")
        read_valid, read_final, read_address = Signal(), Signal(), Signal.like(fetch.address)
        self._from_memory(m, ahead, memory.data, read_final, read_address)
        m.d.comb += [ahead.read.eq(~read_valid | take_head), memory.enable.eq(ahead.read), ahead.valid.eq(read_valid)]
        with m.If(ahead.read):
            m.d.sync += [read_valid.eq(fetch.fetching), read_final.eq(fetch.last)]
            if self._late:
                m.d.sync += read_address.eq(fetch.address)
        return ahead

    def _read_through_queue(self, m: Module, memory: LoadableMemory, fetch: _Fetch, take_head: Signal) -> _Ahead:
        """Put a queue between memory and head, so that the head's `ready` does not reach the memory in the same cycle.

        The queue has room for all reads in flight: an entry that becomes free can be used by a read two cycles later.
        Derived values are computed in front of the queue.
        """
        latency = self._config.memory_latency
        size = 1 << (latency + 2).bit_length()
        ahead, arrived = self._arriving("ahead"), self._arriving("arrived")
        width = len(Cat(arrived.head, arrived.derived))
        m.submodules.queue = queue = Memory(shape=unsigned(width), depth=size, init=[])
        write, look = queue.write_port(), queue.read_port(domain="comb")
        count, room = Signal(range(size + 1)), Signal(range(size + 1), init=size)
        read = ahead.read & fetch.fetching
        arriving, final = delay(m, Cat(read, fetch.last), latency, name="arriving")
        address = delay(m, fetch.address, latency, name="place", resets=False) if self._late else None
        self._from_memory(m, arrived, memory.data, final, address)
        taken, freed, some = Signal(), Signal(), Signal()
        m.d.comb += [
            ahead.read.eq(room != 0),
            memory.enable.eq(read),
            write.data.eq(Cat(arrived.head, arrived.derived)),
            write.en.eq(arriving),
            Cat(ahead.head, ahead.derived).eq(look.data),
            ahead.valid.eq(some),
            taken.eq(take_head & ahead.valid),
        ]
        m.d.sync += [
            count.eq(count + arriving - taken),
            some.eq(arriving | Mux(taken, count[1:].any(), some)),
            freed.eq(taken),
            room.eq(room + freed - read),
        ]
        with m.If(arriving):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(taken):
            m.d.sync += look.addr.eq(look.addr + 1)
        return ahead
