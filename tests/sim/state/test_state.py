"""The state in closed form against every register and memory of the RTL, read from its waveforms."""

import dataclasses
import functools
import re
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.hdl._mem import MemoryInstance
from hypothesis import given, settings
from hypothesis import strategies as st
from support.needs import MODELS, needs_models
from support.programs import (
    PLAIN,
    SMALL,
    any_machines,
    chain_program,
    chains,
    feedback_program,
    input_packet,
    load,
    parameter_words,
    streamed_weights,
)
from support.strategies import int8, randoms, traces
from support.walks import SQUARE, programs, squares, walk_program
from support.waveforms import snapshots

from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Destination, Drain, Fold, Pass, RunCommand, Target, TileKind, chunks, packet
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.host.driver.driver import Accelerator as Driver
from etchnet.host.importers.tflite.importer import load_tflite
from etchnet.host.network.layers import Conv, Depthwise
from etchnet.host.network.network import Network
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.simulated import AmaranthEngine
from etchnet.sim.state.machine import UNCOVERED, MachineState
from etchnet.sim.timing import schedule


@functools.cache
def rtl_registers(config):
    """Return the gateware's registers as {name: name in waveforms}, and memories as {name: (that name, words)}."""
    registers, memories = {}, {}
    for fragment, info in Fragment.get(Machine(config), None).prepare().fragments.items():
        path = info.name[1:]
        if isinstance(fragment, MemoryInstance):
            memories[".".join(path)] = fragment._data.depth
        signals = [port._data for port in getattr(fragment, "_read_ports", ()) if port._domain != "comb"]
        for domain, statements in fragment.statements.items():
            if domain != "comb":
                signals += [signal for statement in statements for signal in statement._lhs_signals()]
        for signal in signals:
            name = ".".join([*path, info.signal_names[signal]])
            assert registers.setdefault(plain(name), name) == name
    # The queues between the programs and their heads belong to the instruction fetch, which is not covered.
    return registers, {plain(name): (name, depth) for name, depth in memories.items() if not name.endswith(".queue")}


def plain(name):
    """Strip the numbers that distinguish equal names in one module; nameless signals consist of nothing else."""
    return re.sub(r"(?<=[a-z0-9_])(?<!\$signal)(?<!\$like)\$\d+", "", name)


def is_uncovered(name):
    return any(re.fullmatch(pattern, name) for pattern in UNCOVERED)


def compare(config, drive, trace, path, random, *, cycles):
    """Drive both engines with the same words, then compare them; return how many values were equal.

    Compares all registers and memories in the first cycles and in others at random, most of them within runs, in random
    order.
    """
    exact = ExactEngine(config, trace=trace, history=True)
    rtl = AmaranthEngine(config, trace=trace, vcd=path)
    for engine in (exact, rtl):
        drive(engine)
    rtl.close()
    assert exact.cycle == rtl.cycle
    state = MachineState.of(exact)
    registers, memories = rtl_registers(config)
    covered = [name for name in registers if not is_uncovered(name)]
    runs = [np.arange(run.start, min(run.finish + 10, rtl.cycle)) for run in exact.history.runs]
    within = random.choice(np.concatenate(runs), cycles - cycles // 4)
    looked_at = sorted({*range(4), *within.tolist(), *random.integers(rtl.cycle, size=cycles // 4).tolist()})
    seen = list(snapshots(path, [rtl.vcd_time(cycle) for cycle in looked_at]))
    for position in random.permutation(len(looked_at)):
        cycle, values = looked_at[position], seen[position]
        for name in covered:
            got = state.value(name, cycle) & (1 << state.width(name)) - 1
            assert got == values[registers[name]], f"{name} in cycle {cycle}"
        for name, (there, words) in memories.items():
            for row in range(words):
                assert state.value(f"{name}[{row}]", cycle) == values[f"{there}[{row}]"], f"{name}[{row}], {cycle}"
    return len(looked_at) * (len(covered) + sum(words for _, words in memories.values()))


def exchanges(config, *parts):
    """Return a function that exchanges, for each (packets, words) in order, packets for result words."""

    def drive(engine):
        for packets, words in parts:
            engine.exchange(np.concatenate(packets), words * chunks(8 * config.rows, config))

    return drive


CONFIGS = [
    Config(rows=3, columns=2, residual_words=0, depthwise=0),
    Config(rows=8, columns=2, weight_rows=4, link_bits=64, contract="tflite-single"),
    dataclasses.replace(SQUARE, requantisers=2, contract="onnx-float"),
    Config(rows=9, columns=9, requantisers=3, weight_rows=3, multiplier_latency=2, memory_latency=2, product_latency=3),
    Config(rows=2, columns=5, requantisers=1, memory_latency=3, product_latency=4),
    Config(rows=4, columns=4, requantisers=1, memory_latency=4, product_latency=5, depthwise=2),
]
FEEDBACK = Config(
    rows=8,
    columns=2,
    weight_tiles=8,
    activation_words=32,
    input_words=16,
    output_words=64,
    accumulator_rows=16,
    passes=16,
    drains=8,
    parameter_tiles=4,
)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}")
def test_every_register_is_covered_or_named_as_uncovered(config):
    registers, memories = rtl_registers(config)
    exact = ExactEngine(config, history=True)
    state = MachineState.of(exact)
    named = set(state.registers())
    assert {name for name in registers if not is_uncovered(name)} == named
    assert state.memories() == {name: words for name, (_, words) in memories.items()}


def test_every_pattern_of_uncovered_registers_matches_some():
    names = {name for config in CONFIGS for name in rtl_registers(config)[0]}
    assert all(any(re.fullmatch(pattern, name) for name in names) for pattern in UNCOVERED)


def some_walks(program, random, path, *, cycles):
    config, _, _, packets, words, repeats = walk_program(program, random)
    drive = exchanges(config, (packets, words * repeats))
    return compare(config, drive, traces(random), path, random, cycles=cycles)


def some_chain(chain, random, path, *, cycles):
    config, groups = chain
    small = {"weight_tiles": 12, "activation_words": 64, "parameter_tiles": 12, "passes": 128}
    config, _, _, packets, words, repeats = chain_program((dataclasses.replace(config, **small), groups), random)
    drive = exchanges(config, (packets, words * repeats))
    return compare(config, drive, traces(random), path, random, cycles=cycles)


@pytest.mark.parametrize(
    ("contract", "options", "seed"),
    [
        ("tflite-double", {"multiplier_latency": 3, "requantisers": 1, "memory_latency": 2, "product_latency": 4}, 0),
        ("tflite-single", {"weight_rows": 4, "memory_latency": 3, "link_bits": 128}, 1),
        ("onnx-float", {"requantisers": 2, "weight_rows": 2, "link_bits": 64}, 2),
        ("tflite-double", {"requantisers": 2, "memory_latency": 4, "product_latency": 5, "link_bits": 128}, 3),
    ],
)
def test_walks_and_chained_drains(tmp_path, contract, options, seed):
    """The programs have depthwise windows, held rows, tiles of all kinds, residuals, and drains in place.

    Wide links keep the loading short; it takes as long to simulate as the runs.
    """
    config = dataclasses.replace(
        SQUARE, contract=contract, passes=64, output_words=256, weight_tiles=4, input_words=32, **options
    )
    groups, random = [[5, 1], [4, 2], [0, 3]], np.random.default_rng(seed)
    assert some_walks((config, groups), random, tmp_path / "machine.vcd", cycles=32)


@pytest.mark.parametrize(("rows", "columns", "seed"), [(4, 2, 3), (2, 5, 4)])
def test_programs_on_machines_that_are_not_square(tmp_path, rows, columns, seed):
    config = Config(rows=rows, columns=columns, accumulator_rows=16, drains=64, link_bits=64)
    groups, random = [(3, 2, 2), (2, 2, 1), (2, 1, 1)], np.random.default_rng(seed)
    assert some_chain((config, groups), random, tmp_path / "machine.vcd", cycles=24)


def test_drains_from_bank_to_bank(tmp_path):
    config, random = FEEDBACK, np.random.default_rng(9)
    drive = exchanges(config, feedback_program(config, int8(random, (6, config.rows))))
    assert compare(config, drive, traces(random), tmp_path / "machine.vcd", random, cycles=40)


def test_streamed_weights(tmp_path):
    random = np.random.default_rng(5)
    packets = streamed_weights(SMALL, int8(random, (4, 4, 4)), int8(random, (3, 4)))
    drive = exchanges(SMALL, (packets, 2 * 6))
    assert compare(SMALL, drive, traces(random), tmp_path / "machine.vcd", random, cycles=20)


def test_consecutive_runs_and_one_that_waits(tmp_path):
    """The runs change parameters, program and input length; the last one waits for an input that never comes."""
    config, random = SMALL, np.random.default_rng(6)
    passes = [
        Pass(
            kind=TileKind.DIAGONAL,
            weights=2,
            pixels=pixels,
            wait_input=True,
            wait_output=True,
            release=True,
            release_input=True,
        )
        for pixels in (4, 1)
    ]
    drains = [Drain(pixels=p.pixels, destination=Destination.OUTPUT, commit=True) for p in passes]
    passes = [schedule([p], [d], config)[0][0] for p, d in zip(passes, drains, strict=True)]
    x, weights = int8(random, (4, 4)), int8(random, (8, 1, 4))
    commands = [
        packet(Target.RUN, command.words(config), config)
        for command in (
            RunCommand(first_pass=i, first_drain=i, output_words=p.pixels, repeats=2) for i, p in enumerate(passes)
        )
    ]
    first, second = (parameter_words(config, [dataclasses.replace(PLAIN, bias=b)] * 4) for b in (3, -9))
    changed = load(config, [], [], second)[2:]
    packets = load(config, passes, drains, first, weights)
    drive = exchanges(
        config,
        ([*packets, input_packet(config, x), commands[0], input_packet(config, x[:2])], 8),
        ([*changed, input_packet(config, x[:1]), commands[1]], 1),
        ([packets[0]], 0),
        ([input_packet(config, x), packets[0]], 0),
    )
    assert compare(config, drive, None, tmp_path / "machine.vcd", random, cycles=30)


def test_a_crop_of_a_network(tmp_path):
    """A depthwise layer and an addition run in the order that the compiler chooses."""
    random = np.random.default_rng(7)
    network = Network(
        [
            Conv(int8(random, (1, 1, 3, 6)), 5, 1 << 30, -5, zero_point=-3, low=-3),
            Depthwise(int8(random, (3, 3, 6, 1)), 7, 1 << 30, -4, padding=((1, 1), (1, 1)), input_zero_point=-3),
        ],
        (2, 3, 3),
    )
    config = Config(
        rows=9,
        columns=9,
        requantisers=3,
        accumulator_rows=16,
        weight_tiles=8,
        activation_words=32,
        input_words=16,
        output_words=32,
        passes=32,
        drains=16,
        parameter_tiles=8,
        residual_words=16,
        line_words=16,
    )
    x = int8(random, (2, network.input_size))

    def drive(engine):
        accelerator = Driver(engine=engine)
        accelerator.load(network)
        assert np.array_equal(accelerator.run(x), network.reference(x))

    assert compare(config, drive, None, tmp_path / "machine.vcd", random, cycles=6)


def test_names_that_do_not_exist_and_cycles_outside_the_history():
    engine = ExactEngine(SMALL, history=True)
    state = MachineState.of(engine)
    assert repr(state) == f"<MachineState: 4 x 4 array, cycles 0 to 0, 0 runs, {len(state.registers())} registers>"
    for name in ("array", "array.element_4_0.weight", "sequencer.pixel.nothing", "activation.memory[32]"):
        with pytest.raises(ValueError, match=f"there is no register {re.escape(repr(name))}"):
            state.value(name, 0)
    for cycle in (-1, 1):
        with pytest.raises(ValueError, match=f"the cycle must be at least 0 and at most 0, not {cycle}"):
            state.value("run", cycle)
    with pytest.raises(ValueError, match=r"there is no element \(4, 0\) in an array of 4 x 4"):
        state.explain(4, 0, 0)
    with pytest.raises(ValueError, match="make it with history=True"):
        MachineState.of(ExactEngine(SMALL))


@pytest.mark.campaign
@settings(settings.get_profile("campaign"), max_examples=150)
@given(st.one_of(programs(squares()), chains(any_machines())), randoms())
def test_campaign_of_states(tmp_path_factory, program, random):
    """All registers and memories are compared in 24 cycles of each of 150 random programs: several million values."""
    config, groups = program
    contract = CONTRACTS[int(random.integers(len(CONTRACTS)))]
    config = dataclasses.replace(
        config,
        contract=contract,
        multiplier_latency=int(random.integers(1, 4)),
        memory_latency=int(random.integers(1, 5)),
        product_latency=int(random.integers(1, 6)),
    )
    some = some_chain if isinstance(groups[0], tuple) else some_walks
    assert some((config, groups), random, tmp_path_factory.mktemp("state") / "machine.vcd", cycles=20) > 1000


@needs_models
def test_a_real_network_is_queried_without_stepping_its_cycles():
    """For ResNet-8: random registers in random cycles, the results in the output memory, and the work of elements."""
    model, random = load_tflite(Path(MODELS) / "resnet8_cifar10_int8.tflite"), np.random.default_rng(8)
    engine = ExactEngine(Config(), history=True)
    accelerator = Driver(engine=engine)
    program = accelerator.load(model.network)
    results = accelerator.run(int8(random, (1, model.network.input_size)))
    state, history = MachineState.of(engine), engine.history.runs[0]
    names = state.registers()
    for name, cycle in zip(random.choice(names, 300), random.integers(history.start, history.finish, 300), strict=True):
        assert -1 << state.width(name) < state.value(name, int(cycle)) < 1 << state.width(name)
    words = [state.value(f"results.memory.memory[{i}]", history.finish + 1) for i in range(program.output_words)]
    raw = b"".join(word.to_bytes(16, "little") for word in words)
    assert np.array_equal(program.unpack_outputs(np.frombuffer(raw, np.uint8).reshape(-1, 16)), results)
    for index in random.integers(len(program.passes), size=20):
        p, begun = program.passes[index], int(history.issues[0][index])
        pixel, row, column = int(random.integers(p.pixels)), *(int(i) for i in random.integers(16, size=2))
        found = state.explain(row, column, begun + pixel + 3 + row + column)
        assert (found.number, found.pixel, found.work) == (index, pixel, p)
        assert found.word == max(-1, int(p.walk()[pixel]))
        assert found.accumulator == p.row + (pixel if p.hold == Fold.SET else 0)
