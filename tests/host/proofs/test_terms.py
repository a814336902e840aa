"""Terms of netlists against Amaranth's simulator: the same outputs in every cycle, for random inputs."""

import random

import pytest
from amaranth.hdl import ClockDomain, Module, Print, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.control.loader import Loader
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.core.output.requantiser import Requantiser
from etchnet.hdl.isa import Drain
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.hdl.serial.deframer import Deframer
from etchnet.host.proofs.netlist import Netlist
from etchnet.host.proofs.terms import Frame, Terms

bitwuzla = pytest.importorskip("bitwuzla")

TINY = {
    "rows": 2,
    "columns": 2,
    "passes": 4,
    "drains": 4,
    "accumulator_rows": 4,
    "activation_words": 4,
    "input_words": 4,
    "output_words": 4,
}


def drains(config):
    return InstructionMemory(
        Drain,
        config,
        depth=config.drains,
        init=[3, 5, 7, 1],
        derived=DrainWalk.derived_layout(config),
        derive=lambda fields: DrainWalk.derive(config, fields),
        reset=DrainWalk.derived_reset(config),
    )


COMPONENTS = {
    "loader": lambda: Loader(Config(**TINY)),
    "accumulators": lambda: AccumulatorBank(Config(**TINY)),
    "drains": lambda: drains(Config(**TINY)),
    "drains through a queue": lambda: drains(Config(**TINY, memory_latency=3)),
    "deframer": Deframer,
    **{
        f"requantiser {contract}": lambda contract=contract: Requantiser(Config(**TINY, contract=contract))
        for contract in CONTRACTS
    },
}


def ports(component):
    """Return the ports of a component by name, and which of them are inputs."""
    found = {}
    for path, member, value in component.signature.flatten(component):
        found["_".join(map(str, path))] = (Value.cast(value), member.flow is In)
    return found


def stimulus(component, cycles):
    """Return random values of all inputs in every cycle: mostly random bits, sometimes all 0 or all 1."""
    rng = random.Random(1)
    inputs = {name: len(value) for name, (value, is_input) in ports(component).items() if is_input and len(value)}
    return [
        {
            name: rng.choice([rng.getrandbits(width), rng.getrandbits(width), 0, -1 % (1 << width)])
            for name, width in inputs.items()
        }
        for _ in range(cycles)
    ]


def simulated(component, values):
    """Return all outputs in every cycle, by Amaranth's simulator."""
    names = ports(component)
    outputs = {name: value.as_unsigned() for name, (value, is_input) in names.items() if not is_input and len(value)}
    seen = []

    async def bench(ctx):
        for cycle in values:
            for name, number in cycle.items():
                ctx.set(names[name][0].as_unsigned(), number)
            seen.append({name: ctx.get(value) for name, value in outputs.items()})
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def evaluated(component, values):
    """Return all outputs in every cycle, from the terms of the netlist with constants for all registers and inputs."""
    netlist, terms = Netlist(component), Terms()
    solver = bitwuzla.Bitwuzla(terms.manager)
    registers = {cell: terms.const(r.init or 0, len(r.bits)) for cell, r in netlist.registers.items()}
    memories = {}
    for cell, memory in netlist.memories.items():
        sort = terms.manager.mk_array_sort(terms.sort(memory.address_bits), terms.sort(memory.width))
        memories[cell] = terms.manager.mk_const_array(sort, terms.const(0, memory.width))
        for address, word in enumerate(netlist.cell(cell).init):
            index, data = terms.const(address, memory.address_bits), terms.const(word, memory.width)
            memories[cell] = terms(bitwuzla.Kind.ARRAY_STORE, [memories[cell], index, data])
    seen = []
    for cycle in values:
        frame = Frame(
            netlist,
            terms,
            register=lambda register, now=registers: now[register.cell],
            memory=lambda memory, now=memories: now[memory.cell],
            inputs={name: terms.const(cycle.get(name, 0), len(nets)) for name, nets in netlist.inputs.items()},
        )
        seen.append(
            {name: int(solver.simplify_term(frame.value(nets)).value(10)) for name, nets in netlist.outputs.items()}
        )
        registers = {cell: solver.simplify_term(frame.next_register(cell)) for cell in netlist.registers}
        memories = {cell: solver.simplify_term(frame.next_memory(cell)) for cell in netlist.memories}
    return seen


@pytest.mark.parametrize("name", COMPONENTS)
def test_terms_have_the_values_of_a_simulation(name):
    values = stimulus(COMPONENTS[name](), 24)
    assert evaluated(COMPONENTS[name](), values) == simulated(COMPONENTS[name](), values)


class Refused(wiring.Component):
    """A bit that is inverted by an edge of its own input, or that is printed."""

    def __init__(self, *, prints):
        self._prints = prints
        super().__init__({"step": In(1), "bit": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.domains.own = domain = ClockDomain(reset_less=True, local=True)
        m.d.comb += domain.clk.eq(self.step ^ 1)
        m.d.own += self.bit.eq(~self.bit)
        if self._prints:
            m.d.comb += Print(self.bit)
        return m


@pytest.mark.parametrize(
    ("prints", "reason"), [(False, "clock of the component must be an input"), (True, "logic, registers and memories")]
)
def test_what_a_step_per_cycle_does_not_describe_is_refused(prints, reason):
    with pytest.raises(ValueError, match=reason):
        Netlist(Refused(prints=prints))
