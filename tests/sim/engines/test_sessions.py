"""Sessions of several runs on one link: both engines agree, where an engine may be wrong and where it was."""

import dataclasses

import numpy as np
import pytest
from support.compare_sessions import difference, outcome
from support.programs import (
    PLAIN,
    SMALL,
    amaranth_engine,
    counters_packet,
    input_packet,
    load,
    on_both,
    parameter_words,
    run,
)
from support.random_machines import VALUES, random_machines
from support.random_sessions import session
from support.strategies import int8

from etchnet.hdl.isa import Destination, Drain, Parameters, Pass, Source, Target, TileKind, pack_bytes, packet
from etchnet.host.compiler.weight_tiles import tile_words
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import LinkTrace
from etchnet.sim.timing import schedule

COPY = Pass(kind=TileKind.IDENTITY, wait_input=True, wait_output=True, release=True, release_input=True)
MACHINES = random_machines(np.random.default_rng(0), 60)
SMALL_MACHINES = [2, 7, 39, 57]
"""machines of every contract and of several values of every parameter"""
WIDE = {"wide": True, "raw": True, "low": -(1 << 31), "high": (1 << 31) - 1, "destination": Destination.OUTPUT}


def program(config, passes, drains, words, inputs, repeats=1):
    """Return the packets of a program that copies values, and of its inputs."""
    passes, drains = schedule(passes, drains, config)
    channels = [Parameters() if drains[0].raw else PLAIN] * config.columns
    return [
        *load(config, passes, drains, parameter_words(config, channels)),
        run(config, passes, drains, words, repeats),
        *(input_packet(config, x) for x in inputs),
    ]


def test_packets_are_offered_while_the_counters_are_awaited():
    """The host begins to offer a header while the machine waits, and does not begin again until long after."""
    x = int8(np.random.default_rng(0), (1, 4))
    packets = program(SMALL, [COPY], [Drain(destination=Destination.OUTPUT, commit=True)], 1, [x])
    words = np.concatenate([*packets, counters_packet(SMALL), counters_packet(SMALL)])
    offers = np.ones(400, bool)
    offers[len(words) + 1 : 300] = False
    trace = LinkTrace(offers, np.arange(400) % 5 == 0)
    engines = ExactEngine(SMALL, trace=trace), amaranth_engine(SMALL, trace)
    results = [engine.exchange(words, 33) for engine in engines]
    assert np.array_equal(*results)
    assert engines[0].cycle == engines[1].cycle
    assert len(words) + 1 < np.flatnonzero(engines[1].record.offers)[-2] < 300
    for way in ("offers", "accepts"):
        assert np.array_equal(*(getattr(engine.record, way) for engine in engines))


def test_weights_of_a_repeat_are_those_before_the_next_ones_arrive():
    """One tile of the memory is filled again while the pass that follows its user still waits for weights."""
    config, random = dataclasses.replace(SMALL, weight_rows=1), np.random.default_rng(1)
    stream = {"wait_weights": True, "release_weights": True}
    passes = [
        Pass(pixels=2, wait_input=True, wait_output=True, **stream),
        Pass(pixels=2, row=2, release=True, release_input=True, **stream),
    ]
    drains = [Drain(pixels=4, stride=4, **WIDE, commit=True)]
    x, tiles = int8(random, (2, 4)), int8(random, (4, 4, 4))
    packets = program(config, passes, drains, 16, [x, x], 2)
    for number, tile in enumerate(tiles):
        words = pack_bytes(tile_words(tile, config).reshape(4, -1), config)
        packets.append(packet(Target.WEIGHTS, words, config, acquire=number > 0, commit=True))
    got, _, _ = on_both(config, packets, 16, 2)
    sums = [x.astype(int) @ tile.astype(int) for tile in tiles]
    assert np.array_equal(np.ascontiguousarray(got).view("<i4").reshape(4, 2, 4), sums)


def test_a_program_may_release_two_inputs_before_it_reads_activations():
    passes = [
        Pass(kind=TileKind.IDENTITY, wait_input=True, release=True, release_input=True),
        dataclasses.replace(COPY, release=False, row=1),
        Pass(kind=TileKind.IDENTITY, source=Source.ACTIVATION, row=2, release=True),
    ]
    drains = [Drain(), Drain(row=1, pixels=2, destination=Destination.OUTPUT, commit=True)]
    x, y = int8(np.random.default_rng(2), (2, 1, 4))
    got, _, _ = on_both(SMALL, program(SMALL, passes, drains, 2, [x, y]), 2)
    assert np.array_equal(got[0].view(np.int8), np.concatenate([y, x]))


@pytest.mark.parametrize("stride", [0, 1, 3])
def test_of_results_that_overlap_the_last_remains(stride):
    x = int8(np.random.default_rng(3), (3, 4))
    passes = [dataclasses.replace(COPY, pixels=3)]
    drains = [Drain(pixels=3, stride=stride, **WIDE, commit=True)]
    words = 2 * stride + 4
    got, _, _ = on_both(SMALL, program(SMALL, passes, drains, words, [x]), words)
    wanted = np.zeros((words, 4), np.uint8)
    for row, values in enumerate(x.astype("<i4")):
        wanted[row * stride : row * stride + 4] = values.view(np.uint8).reshape(4, 4)
    assert np.array_equal(got[0], wanted)


def test_a_pass_waits_for_the_last_of_overlapping_results():
    """Rows of two words each, a word apart: every word but the ends is written twice, the second time much later."""
    config = dataclasses.replace(SMALL, columns=8, requantisers=1, residual_words=0)
    x = int8(np.random.default_rng(4), (3, 4))
    passes = [
        dataclasses.replace(COPY, pixels=3, wait_output=False, release_input=False),
        dataclasses.replace(COPY, pixels=3, wait_input=False, source=Source.ACTIVATION),
    ]
    drains = [Drain(pixels=3), Drain(pixels=3, stride=2, destination=Destination.OUTPUT, commit=True)]
    got, _, _ = on_both(config, program(config, passes, drains, 6, [x]), 6)
    assert np.array_equal(got[0, ::2].view(np.int8), x)


def test_the_only_word_may_hold_a_wide_result():
    config = dataclasses.replace(SMALL, rows=9, columns=2, requantisers=2, residual_words=0)
    x = int8(np.random.default_rng(5), (1, 9))
    got, _, _ = on_both(config, program(config, [COPY], [Drain(**WIDE, commit=True)], 1, [x]), 1)
    assert np.array_equal(np.ascontiguousarray(got[0, :, :8]).view("<i4"), x[:, :2])


def test_the_only_word_may_hold_nothing():
    x = int8(np.random.default_rng(6), (1, 4))
    drains = [Drain(destination=Destination.OUTPUT, address=1, commit=True)]
    on_both(SMALL, program(SMALL, [COPY], drains, 1, [x]), 1)


@pytest.mark.parametrize("number", SMALL_MACHINES)
def test_random_sessions_agree(number):
    """Every word, every counter and every cycle: `campaigns.engines` has thousands of sessions, on the Verilog."""
    config = MACHINES[number]
    for seed in range(3):
        one = session(config, (1, number, seed), runs=2)
        exact = outcome(ExactEngine(config, trace=one.trace), one)
        assert difference(one, exact, outcome(amaranth_engine(config, one.trace), one)) is None


def test_machines_of_a_campaign_have_every_value():
    for name, values in VALUES.items():
        assert {getattr(config, name) for config in MACHINES} >= set(values), name
    assert {config.tiles_per_word for config in MACHINES} >= {1, 2, 3, 4}
    assert {config.depthwise for config in MACHINES} == {0, 2, 3}
    assert len({(config.rows, config.columns) for config in MACHINES}) > 20
