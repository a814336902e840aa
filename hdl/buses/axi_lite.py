"""An AXI4-Lite slave in front of a register file."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.buses.register import ADDRESS_BITS, REGISTER_BITS
from etchnet.hdl.buses.register_file import write_layout

__all__ = ["AxiLite", "Response", "lite_ports"]


class Response(enum.Enum, shape=2):  # type: ignore[call-arg]
    """The AXI response codes that the slave uses."""

    OKAY = 0
    SLVERR = 2


def lite_ports() -> dict[str, wiring.Member]:
    """Return the ports of an AXI4-Lite slave of 32-bit registers."""
    return {
        "awaddr": In(ADDRESS_BITS),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(REGISTER_BITS),
        "wstrb": In(REGISTER_BITS // 8),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(Response),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(ADDRESS_BITS),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(REGISTER_BITS),
        "rresp": Out(Response),
        "rvalid": Out(1),
        "rready": In(1),
    }


class AxiLite(wiring.Component):
    """An AXI4-Lite slave in front of a `RegisterFile`.

    Each of the channels AW, W and AR has a register. A request waits there until the previous response has been
    accepted, or is accepted in that cycle; a write also waits until both address and data have arrived, in either
    order. Responses are registers as well, so that no output of the bus depends on an input in the same cycle.
    `read_data` must answer `read_address`, and `write_error` must answer `write`, in the same cycle. `bvalid` and
    `rvalid` rise two cycles after the transfer they respond to. A write and a read can be accepted every two cycles,
    and do not wait for each other.

    The lowest two bits of addresses, and `awprot` and `arprot`, are ignored.

    ============  =========  ==============  ===================================================
    port          direction  shape           meaning
    ============  =========  ==============  ===================================================
    awaddr        in         12              byte address of a write
    awprot        in         3               ignored
    awvalid       in         1               there is an address
    awready       out        1               it is accepted
    wdata         in         32              data of a write
    wstrb         in         4               bytes of `wdata` to write
    wvalid        in         1               there are data
    wready        out        1               they are accepted
    bresp         out        `Response`      response to a write
    bvalid        out        1               there is a response
    bready        in         1               it is accepted
    araddr        in         12              byte address of a read
    arprot        in         3               ignored
    arvalid       in         1               there is an address
    arready       out        1               it is accepted
    rdata         out        32              data of a read
    rresp         out        `Response`      response to a read
    rvalid        out        1               there is a response, with its data
    rready        in         1               it is accepted
    read_address  out        10              word address of the register to read
    read_data     in         32              value of the register
    read_error    in         1               the register cannot be read: the response is SLVERR
    write         out        `write_layout`  a write
    write_error   in         1               the write is refused: the response is SLVERR
    ============  =========  ==============  ===================================================
    """

    def __init__(self) -> None:
        super().__init__(
            {
                **lite_ports(),
                "read_address": Out(ADDRESS_BITS - 2),
                "read_data": In(REGISTER_BITS),
                "read_error": In(1),
                "write": Out(write_layout()),
                "write_error": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Accept, execute and respond: writes, then reads."""
        m = Module()
        self._write_channels(m)
        self._read_channels(m)
        return m

    def _write_channels(self, m: Module) -> None:
        """Pair an address with its data, write, and respond."""
        have_address = Signal()
        have_data = Signal()
        address = Signal(ADDRESS_BITS, reset_less=True)
        data = Signal(REGISTER_BITS, reset_less=True)
        strobes = Signal(REGISTER_BITS // 8, reset_less=True)
        answered = Signal()
        result = Signal(Response, reset_less=True)
        m.d.comb += [
            self.awready.eq(~have_address),
            self.wready.eq(~have_data),
            self.write.valid.eq(have_address & have_data & (~answered | self.bready)),
            self.write.address.eq(address[2:]),
            self.write.data.eq(data),
            self.write.strobes.eq(strobes),
            self.bvalid.eq(answered),
            self.bresp.eq(result),
        ]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [have_address.eq(1), address.eq(self.awaddr)]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [have_data.eq(1), data.eq(self.wdata), strobes.eq(self.wstrb)]
        with m.If(self.bready):
            m.d.sync += answered.eq(0)
        with m.If(self.write.valid):
            m.d.sync += [have_address.eq(0), have_data.eq(0), answered.eq(1)]
            m.d.sync += result.eq(Response.OKAY)
            with m.If(self.write_error):
                m.d.sync += result.eq(Response.SLVERR)

    def _read_channels(self, m: Module) -> None:
        """Take an address, and respond with the register's value."""
        have_read = Signal()
        read_address = Signal(ADDRESS_BITS, reset_less=True)
        delivered = Signal()
        value = Signal(REGISTER_BITS, reset_less=True)
        read_result = Signal(Response, reset_less=True)
        m.d.comb += [
            self.arready.eq(~have_read),
            self.read_address.eq(read_address[2:]),
            self.rvalid.eq(delivered),
            self.rdata.eq(value),
            self.rresp.eq(read_result),
        ]
        with m.If(self.arvalid & self.arready):
            m.d.sync += [have_read.eq(1), read_address.eq(self.araddr)]
        with m.If(self.rready):
            m.d.sync += delivered.eq(0)
        with m.If(have_read & (~delivered | self.rready)):
            m.d.sync += [have_read.eq(0), delivered.eq(1), value.eq(self.read_data)]
            m.d.sync += read_result.eq(Response.OKAY)
            with m.If(self.read_error):
                m.d.sync += read_result.eq(Response.SLVERR)
