"""The memory block that every memory of the machine is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay

__all__ = ["Ram", "read_port"]


def read_port(depth: int, bits: int) -> wiring.Signature:
    """Return the read port of a memory as its user sees it: `enable` and `address` out, `data` in, without timing."""
    return wiring.Signature({"enable": Out(1), "address": Out(range(max(2, depth))), "data": In(bits)})


class Ram(wiring.Component):
    """One write port and one read port of a whole word each.

    A read takes `latency` cycles, and its data stay until the next cycle with `enable`. `write_lanes` enables equal
    parts of the word. Reading a word in the cycle that writes it gives the old word in simulation and should not be
    relied on.

    Parameters
    ----------
    bits, depth
        Size of a word, and how many there are.
    lanes
        Parts of a word that can be written on their own; divides `bits`.
    init
        Initial words; the rest are zero.
    name
        Names the file of initial words, where there is one.
    latency
        Cycles from an address to its word. 1 is the memory's own; with 2 a register follows, with 3 another is in front
        of both ports, so that what is written is there a cycle later too, and with 4 there are two behind.
    """

    def __init__(
        self, *, bits: int, depth: int, lanes: int = 1, init: Sequence[int] = (), name: str, latency: int = 1
    ) -> None:
        self.bits, self.depth, self.lanes, self.init, self.name = bits, depth, lanes, list(init), name
        self.latency = latency
        super().__init__(
            {
                "write_lanes": In(lanes),
                "write_address": In(range(max(2, depth))),
                "write_data": In(bits),
                "enable": In(1),
                "address": In(range(max(2, depth))),
                "data": Out(bits),
            }
        )

    @property
    def waits(self) -> int:
        """Cycles that reads and writes wait in front of the memory."""
        return self.waits_of(self.latency)

    @staticmethod
    def waits_of(latency: int) -> int:
        """`waits` of a memory of this latency."""
        return int(latency > 2)

    @property
    def inputs(self) -> dict[str, Value]:
        """What goes into the memory, by port."""
        self_: Any = self
        return {name: getattr(self_, name) for name, member in self.signature.members.items() if member.flow is In}

    def elaborate(self, platform: Any) -> Module:
        """Amaranth's memory; generated Verilog has modules of its own instead (`etchnet.hdl.targets.verilog`)."""
        m = Module()
        m.submodules.memory = memory = Memory(shape=unsigned(self.bits), depth=self.depth, init=self.init)
        write, read = memory.write_port(granularity=self.bits // self.lanes), memory.read_port()
        late = {name: delay(m, value, self.waits, name=f"late_{name}") for name, value in self.inputs.items()}
        m.d.comb += [
            write.addr.eq(late["write_address"]),
            write.data.eq(late["write_data"]),
            write.en.eq(late["write_lanes"]),
            read.addr.eq(late["address"]),
            read.en.eq(late["enable"]),
            self.data.eq(delay(m, read.data, self.latency - 1 - self.waits, name="data", resets=False)),
        ]
        return m
