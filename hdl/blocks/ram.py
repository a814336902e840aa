"""The building block of every memory in the machine."""

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
    """A memory with one write port and one read port.

    A read takes `latency` cycles, and `data` holds the word until the next read delivers another. One read and one
    write per cycle, no flow control. A read of a word in the cycle that writes it returns the old word in simulation;
    do not rely on it.

    =============  =========  =============  ========================================================
    port           direction  shape          meaning
    =============  =========  =============  ========================================================
    write_lanes    in         `lanes`        write these lanes, equal parts of the word, lowest first
    write_address  in         below `depth`  word to write
    write_data     in         `bits`         its contents
    enable         in         1              read a word
    address        in         below `depth`  word to read
    data           out        `bits`         the last word read
    =============  =========  =============  ========================================================

    Parameters
    ----------
    bits, depth
        Bits of a word, and number of words.
    lanes
        Number of equal parts of a word that can be written separately; divides `bits`.
    init
        Initial words; the rest are zero.
    name
        Name of the file of initial words in generated Verilog, without its suffix; not used if there are none.
    latency
        Cycles from an address to its word, 1 to 4. 1: the memory alone. 2: a register after it. 3: also registers in
        front of both ports, which delay writes by a cycle too. 4: two registers after it.
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
        """Cycles that reads and writes spend in registers in front of the memory."""
        return self.waits_of(self.latency)

    @staticmethod
    def waits_of(latency: int) -> int:
        """Return the `waits` of a memory of a given latency."""
        return int(latency > 2)

    @property
    def inputs(self) -> dict[str, Value]:
        """Input ports by name."""
        self_: Any = self
        return {name: getattr(self_, name) for name, member in self.signature.members.items() if member.flow is In}

    def elaborate(self, platform: Any) -> Module:
        """Wrap Amaranth's memory; generated Verilog has a module of its own instead (`etchnet.hdl.targets.verilog`)."""
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
