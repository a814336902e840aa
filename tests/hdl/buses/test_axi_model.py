"""The machine's registers and streams on AXI, cycle by cycle, against a model; the bench plays the machine."""

import random

from amaranth.sim import Simulator
from support import rtl
from support.machines import Played, small

from etchnet.hdl.buses.axi import Axi
from etchnet.hdl.isa import Counter

CONTROL, STATUS, EVENTS, ENABLE, SNAPSHOT, FRAME, COUNTERS = 0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x80
STATUS_FIELDS = {
    "running": 0,
    "run_pending": 1,
    "counters_pending": 2,
    "input_free": 8,
    "input_full": 10,
    "output_free": 12,
    "output_full": 14,
    "weights_free": 16,
    "weights_full": 24,
}
"""first bits of the fields of STATUS that are fields of the machine's status, of 1, 2 and 8 bits"""
SLVERR = 2
WIDTHS = {name: 1 if first < 3 else 2 if first < 16 else 8 for name, first in STATUS_FIELDS.items()}


class Model:
    """A model of `Axi`, from its docstring and that of the register map."""

    def __init__(self):
        self.reset = self.enable = self.events = self.irq = self.offered = self.halves = self.started = 0
        self.frame, self.counters, self.word = 1, [0] * len(Counter), None

    def read(self, address, inputs):
        """Return the value of a register in a cycle with these inputs; None if it cannot be read."""
        if address >= COUNTERS:
            counter, high = divmod(address - COUNTERS >> 2, 2)
            return self.counters[counter] >> 32 * high & 0xFFFF_FFFF
        waits = (inputs["s_valid"] and not inputs["in_ready"]) << 3 | (self.offered and not inputs["m_ready"]) << 4
        status = sum(inputs[name] << first for name, first in STATUS_FIELDS.items()) | waits
        return {
            SNAPSHOT: None,
            CONTROL: self.reset,
            STATUS: status,
            EVENTS: self.events,
            ENABLE: self.enable,
            FRAME: self.frame,
        }[address]

    def step(self, inputs, write):
        """Go to the next cycle; `write` is the register that is written in this one, if any, and bytes with a mask."""
        address, data, mask = write or (0, 0, 0)
        cleared = data & mask if address == EVENTS else 0
        partial = inputs["s_valid"] and inputs["in_ready"] and inputs["s_keep"] != 0xF
        irq = int(bool(self.events & self.enable))
        if not self.offered or inputs["m_ready"]:
            ends = inputs["last"] and (inputs["answer"] or self.halves + 1 >= self.frame)
            self.offered, self.word = inputs["out_valid"], (inputs["out_payload"], int(ends))
            if self.offered and inputs["last"]:
                self.halves = 0 if ends else self.halves + 1
        if self.reset:
            self.halves = 0
        if address == SNAPSHOT and data & mask & 1:
            self.counters = list(inputs["counters"])
        self.started = int(not self.reset)
        stored = {CONTROL: ("reset", 1), ENABLE: ("enable", 3), FRAME: ("frame", 0xFFFF)}
        if address in stored:
            name, bits = stored[address]
            setattr(self, name, (getattr(self, name) & ~mask | data & mask) & bits)
        self.irq, self.events = irq, self.events & ~cleared | inputs["run_done"] | partial << 1


def drive(ctx, axi, machine, inputs):
    """Set the inputs of a cycle: both streams, and all that the machine shows."""
    ctx.set(axi.s_axis_tvalid, inputs["s_valid"])
    ctx.set(axi.s_axis_tkeep, inputs["s_keep"])
    ctx.set(axi.s_axis_tdata, inputs["s_data"])
    ctx.set(axi.m_axis_tready, inputs["m_ready"])
    ctx.set(machine.link_in.ready, inputs["in_ready"])
    ctx.set(machine.link_out.valid, inputs["out_valid"])
    ctx.set(machine.link_out.payload, inputs["out_payload"])
    for name in (*STATUS_FIELDS, "run_done", "last", "answer"):
        ctx.set(machine.status[name], inputs[name])
    for counter, value in enumerate(inputs["counters"]):
        ctx.set(machine.status.counters[counter], value)


def draw(rng):
    """Return the inputs of a cycle."""
    return {
        **{name: int(rng.random() < 0.6) for name in ("s_valid", "in_ready", "m_ready", "out_valid", "last")},
        **{name: int(rng.random() < 0.1) for name in ("run_done", "answer")},
        **{name: rng.getrandbits(width) for name, width in WIDTHS.items()},
        **{name: rng.getrandbits(32) for name in ("s_data", "out_payload")},
        "s_keep": 0xF if rng.random() < 0.8 else rng.getrandbits(4),
        "counters": [rng.getrandbits(48) for _ in Counter],
    }


def request(rng):
    """Return a read or a write: address, and data and strobes of a write."""
    if rng.random() < 0.5:
        counters = COUNTERS + 4 * rng.randrange(2 * len(Counter))
        return rng.choice([CONTROL, STATUS, EVENTS, ENABLE, FRAME, SNAPSHOT, counters, counters]), None, None
    strobes = 0xF if rng.random() < 0.8 else rng.getrandbits(4)
    address = rng.choice([EVENTS, ENABLE, SNAPSHOT, FRAME, STATUS, rng.choice([CONTROL, FRAME])])
    return address, rng.getrandbits(32) & (3 if address != FRAME else rng.choice([3, 0xFFFF0003])), strobes


def test_registers_and_streams_follow_their_model():
    rng, machine = random.Random(0), Played(small())
    axi = Axi(machine)

    async def bench(ctx):
        def clock():
            ctx.set(axi.aclk, 1)
            ctx.set(axi.aclk, 0)

        for _ in range(2):
            model, waiting, answer = Model(), None, {}
            for port in ("aresetn", "s_axi_awvalid", "s_axi_wvalid", "s_axi_arvalid"):
                ctx.set(getattr(axi, port), 0)
            clock()
            for port in ("aresetn", "s_axi_bready", "s_axi_rready"):
                ctx.set(getattr(axi, port), 1)
            for _ in range(500):
                inputs = draw(rng)
                drive(ctx, axi, machine, inputs)
                outputs = rtl.Outputs(axi, ctx)
                assert outputs["s_axis_tready"] == inputs["in_ready"]
                assert (ctx.get(machine.link_in.valid), ctx.get(machine.link_in.payload)) == (
                    inputs["s_valid"],
                    inputs["s_data"],
                )
                assert ctx.get(machine.link_out.ready) == (not model.offered or inputs["m_ready"])
                assert (outputs["m_axis_tvalid"], outputs["m_axis_tkeep"], outputs["irq"]) == (
                    model.offered,
                    0xF,
                    model.irq,
                )
                if model.offered:
                    assert (outputs["m_axis_tdata"], outputs["m_axis_tlast"]) == model.word
                assert ctx.get(machine.started) == model.started
                # An answer follows two cycles after its request; the register is accessed in the cycle between them.
                channels = {"r": ("rdata", "rresp"), "b": ("bresp",)}
                for channel, ports in channels.items():
                    assert outputs[f"s_axi_{channel}valid"] == (channel in answer)
                    if wanted := answer.get(channel):
                        assert [outputs[f"s_axi_{port}"] for port in ports][-len(wanted) :] == wanted
                write, answer = None, {}
                if waiting:
                    address, data, strobes = waiting
                    if strobes is None:
                        value = model.read(address, inputs)
                        answer["r"] = [SLVERR] if value is None else [value, 0]
                    else:
                        answer["b"] = [SLVERR if address == STATUS else 0]
                        write = address, data, sum(0xFF << 8 * byte for byte in range(4) if strobes >> byte & 1)
                waiting = None
                asked = request(rng) if not answer and rng.random() < 0.7 else None
                ctx.set(axi.s_axi_arvalid, asked is not None and asked[2] is None)
                ctx.set(axi.s_axi_awvalid, asked is not None and asked[2] is not None)
                ctx.set(axi.s_axi_wvalid, asked is not None and asked[2] is not None)
                if asked:
                    ctx.set(axi.s_axi_araddr, asked[0])
                    ctx.set(axi.s_axi_awaddr, asked[0])
                    ctx.set(axi.s_axi_wdata, asked[1] or 0)
                    ctx.set(axi.s_axi_wstrb, asked[2] or 0)
                    waiting = asked
                clock()
                model.step(inputs, write)

    simulator = Simulator(axi)
    simulator.add_testbench(bench)
    simulator.run()
