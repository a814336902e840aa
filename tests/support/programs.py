"""Programs made by hand, and the functions that run them on both engines."""

import dataclasses
import functools

import numpy as np
from hypothesis import strategies as st
from support.strategies import configs, int8

from etchnet.hdl.isa import (
    Counter,
    Destination,
    Drain,
    Fold,
    Parameters,
    Pass,
    RunCommand,
    Source,
    Target,
    TileKind,
    chunks,
    pack,
    pack_bytes,
    packet,
)
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.isa.packets import word_bits
from etchnet.host.compiler.weight_tiles import tile_words
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.simulated import AmaranthEngine
from etchnet.sim.timing import check, schedule


def parameter_word(config, records):
    size = Parameters.layout(config).size
    return sum(r.encode(config) << lane * size for lane, r in enumerate(records))


def parameter_words(config, channels):
    """Return the parameter words of whole column tiles, channel after channel."""
    n = config.requantisers
    return [parameter_word(config, channels[i : i + n]) for i in range(0, len(channels), n)]


def load(config, passes, drains, parameters=(), weights=None):
    packets = [
        packet(Target.PASSES, pack([p.encode(config) for p in passes], Pass.layout(config).size, config), config),
        packet(Target.DRAINS, pack([d.encode(config) for d in drains], Drain.layout(config).size, config), config),
    ]
    if parameters:
        packed = pack(parameters, word_bits(Target.PARAMETERS, config), config)
        packets.append(packet(Target.PARAMETERS, packed, config))
    if weights is not None:
        packets.append(packet(Target.WEIGHTS, pack_bytes(weights.reshape(len(weights), -1), config), config))
    return packets


def run(config, passes, drains, output_words, repeats=1):
    command = RunCommand(passes=len(passes), drains=len(drains), output_words=output_words, repeats=repeats)
    return packet(Target.RUN, command.words(config), config)


def input_packet(config, words):
    return packet(Target.INPUT, pack_bytes(words, config), config, acquire=True, commit=True)


def counters_packet(config):
    return packet(Target.COUNTERS, np.zeros((0, 1, config.link_bits // 32), np.uint32), config)


def execute(engine, packets, output_words, repeats=1):
    """Send packets and read the counters: result bytes (repeats, output_words, rows), counters, cycle."""
    config = engine.config
    beats = output_words * chunks(8 * config.rows, config) * repeats
    words = engine.exchange(np.concatenate([*packets, counters_packet(config)]), beats + 2 * len(Counter))
    raw = np.ascontiguousarray(words[:beats]).reshape(repeats, output_words, -1).view(np.uint8)[..., : config.rows]
    totals = words[beats:, 0].astype(np.int64)
    return raw, {c: int(totals[2 * c] | totals[2 * c + 1] << 32) for c in Counter}, engine.cycle


@functools.lru_cache(maxsize=8)
def _elaborated(config):
    return AmaranthEngine(config)


def amaranth_engine(config, trace=None):
    """Return the machine in Amaranth's simulator, reset: it is elaborated once for all tests with the same config."""
    engine = _elaborated(config)
    engine.reset(trace)
    return engine


def on_both(config, packets, output_words, repeats=1, trace=None):
    """Run packets on the exact engine and on the gateware, check that all is equal, and return what `execute` does."""
    exact, rtl = (
        execute(engine, packets, output_words, repeats)
        for engine in (ExactEngine(config, trace=trace), amaranth_engine(config, trace))
    )
    assert np.array_equal(exact[0], rtl[0])
    assert exact[1] == rtl[1]
    assert exact[2] == rtl[2]
    return exact


SMALL = Config(
    rows=4,
    columns=4,
    weight_tiles=8,
    activation_words=32,
    input_words=16,
    output_words=32,
    accumulator_rows=16,
    passes=16,
    drains=8,
    parameter_tiles=4,
)


PLAIN = Parameters(multiplier=1 << 30, left=1)


def streamed_weights(config, tiles, x):
    """Make a program that waits for two segments of the weight memory in turn, and releases them, in each repeat."""
    passes = [
        Pass(
            weights=4 * segment,
            address=0,
            pixels=3,
            bank=segment,
            wait_weights=True,
            release_weights=True,
            wait_input=not segment,
            wait_output=not segment,
            release=True,
            release_input=bool(segment),
        )
        for segment in range(2)
    ]
    drains = [
        Drain(bank=segment, pixels=3, address=3 * segment, destination=Destination.OUTPUT, commit=bool(segment))
        for segment in range(2)
    ]
    passes, drains = schedule(passes, drains, config)
    packets = [
        *load(config, passes, drains, parameter_words(config, [Parameters(multiplier=1 << 30, right=7)] * 4)),
        run(config, passes, drains, 6, repeats=2),
    ]
    for repeat in range(2):
        packets.append(input_packet(config, x))
        for segment in range(2):
            words = pack_bytes(tile_words(tiles[2 * repeat + segment], config).reshape(4, -1), config)
            packets.append(
                packet(Target.WEIGHTS, words, config, address=4 * segment, commit=True, acquire=bool(repeat))
            )
    return packets


def feedback_program(config, x):
    """Fold two column tiles into alternating rows of the other bank, then write these: packets and output words."""
    columns = config.columns
    passes = [
        Pass(kind=TileKind.IDENTITY, pixels=6, wait_input=True, wait_output=True, release=True, release_input=True),
        Pass(
            kind=TileKind.IDENTITY,
            pixels=1,
            row=15,
            source=Source.INPUT,
            wait_input=True,
            release=True,
            release_input=True,
        ),
    ]
    drains = [
        Drain(tiles=2, pixels=3, destination=Destination.ACCUMULATORS, into=1, address=1, stride=2, tile_stride=1),
        Drain(bank=1, row=1, pixels=6, destination=Destination.OUTPUT, commit=True, stride=config.words_per_pixel()),
    ]
    passes, drains = schedule(passes, drains, config)
    parameters = parameter_words(config, [PLAIN] * columns + [dataclasses.replace(PLAIN, bias=1)] * columns)
    words = 6 * config.words_per_pixel()
    packets = [
        *load(config, passes, drains, parameters),
        input_packet(config, x),
        input_packet(config, x),
        run(config, passes, drains, words),
    ]
    return packets, words


def any_machines():
    """Return machines of any shape and contract."""
    return st.builds(
        lambda config, contract: dataclasses.replace(config, contract=contract),
        configs(largest=5),
        st.sampled_from(CONTRACTS),
    )


@st.composite
def chains(draw, machines):
    """Return a machine, and the groups of passes of a program on it, each with its drain."""
    config = draw(machines)
    groups = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=5))
    return config, groups


def with_random_constants(config, passes, drains, words, random, *, parameter_sets, stored_tiles, most_repeats):
    """Schedule a program and load it with random weights, parameters and inputs.

    Returns config, passes, drains, packets, output words and repeats. Nothing is loaded that the program cannot use:
    loading takes most of the time of a simulation.
    """
    passes, drains = schedule(passes, drains, config)
    channels = [
        Parameters(
            bias=int(random.integers(-(1 << 16), 1 << 16)),
            multiplier=int(random.integers(1 << 31)),
            left=int(random.integers(3)),
            right=int(random.integers(12)),
        )
        for _ in range(parameter_sets * config.columns)
    ]
    weights = int8(random, (stored_tiles * config.load_cycles, config.weight_rows, config.columns))
    repeats = int(random.integers(1, most_repeats + 1))
    packets = [
        *load(config, passes, drains, parameter_words(config, channels), weights),
        run(config, passes, drains, words, repeats),
    ]
    packets += [input_packet(config, int8(random, (config.input_words, config.rows))) for _ in range(repeats)]
    check(passes, drains, config, repeats=repeats)
    return config, passes, drains, packets, words, repeats


def chain_program(chain, random):
    """Make a program of random folds, tiles, sources: config, passes, drains, packets, output words and repeats."""
    config, groups = chain
    config = dataclasses.replace(config, output_words=1024, input_words=32)
    stored_tiles, parameter_sets = min(config.weight_tiles, 6), 4
    passes, drains, words, written = [], [], 0, 0
    for number, (pixels, tiles, depth) in enumerate(groups):
        tiles = min(tiles, config.accumulator_rows // pixels)
        last, bank = number == len(groups) - 1, int(random.integers(2))
        steps = [(level, tile) for level in range(depth) for tile in range(tiles)]
        for level, tile in steps:
            ending = (level, tile) == steps[-1]
            passes.append(
                Pass(
                    kind=TileKind(int(random.integers(3))),
                    weights=int(random.integers(stored_tiles)) * config.load_cycles,
                    **_source(random, written, pixels),
                    pixels=pixels,
                    bank=bank,
                    row=tile * pixels,
                    fold=Fold(int(random.integers(1, 3))) if level else Fold.SET,
                    useful=int(random.integers(config.multipliers + 1)),
                    release=ending,
                    wait_input=not passes,
                    release_input=last and ending,
                    wait_output=last and ending,
                )
            )
        wide = last and bool(random.integers(2))
        size = config.words_per_pixel(wide=wide)
        # Words next to each other, so that what is written has no gaps.
        filled = ceil_div(tiles, 1 if wide else config.tiles_per_word) * size * pixels
        shape = {"tiles": tiles, "pixels": pixels, "bank": bank, "stride": size, "tile_stride": size * pixels}
        shape["parameters"] = int(random.integers(parameter_sets)) * config.groups
        if last:
            words = size * pixels * tiles
            clamp = {"low": -(1 << 31), "high": (1 << 31) - 1} if wide else {}
            drains.append(Drain(**shape, **clamp, wide=wide, raw=wide, destination=Destination.OUTPUT, commit=True))
        else:
            low, high = sorted(int(v) for v in random.integers(-128, 128, 2))
            address = written if written + filled <= config.activation_words else 0
            zero_point = int(random.integers(-128, 128))
            drains.append(Drain(**shape, low=low, high=high, zero_point=zero_point, address=address))
            written = address + filled
    # Lanes that no tile has written keep what was there before: give every program's first words all lanes.
    if config.tiles_per_word > 1 and any(p.source == Source.ACTIVATION for p in passes):
        passes = [dataclasses.replace(p, source=Source.INPUT, address=0, step=1) for p in passes]
    # A drain may begin with the last set, and each of its three tiles takes one.
    constants = {"parameter_sets": parameter_sets + 2, "stored_tiles": stored_tiles, "most_repeats": 3}
    return with_random_constants(config, passes, drains, words, random, **constants)


def _source(random, written, pixels):
    """Choose the words of a pass: any of the input, or words that the program has written."""
    if written >= pixels and random.random() < 0.5:
        return {"source": Source.ACTIVATION, "address": int(random.integers(written - pixels + 1)), "step": 1}
    return {"source": Source.INPUT, "address": int(random.integers(20)), "step": int(random.integers(1, 4))}
