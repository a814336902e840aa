"""Programs written by hand: every fold, tile, destination and barrier, on the exact engine and on the RTL."""

import dataclasses

import numpy as np
import pytest
from support.programs import (
    PLAIN,
    SMALL,
    amaranth_engine,
    counters_packet,
    feedback_program,
    input_packet,
    load,
    on_both,
    parameter_words,
    run,
    streamed_weights,
)
from support.strategies import int8, traces

from etchnet.hdl.isa import (
    Counter,
    Destination,
    Drain,
    Fold,
    Parameters,
    Pass,
    RunCommand,
    Target,
    TileKind,
    packet,
)
from etchnet.hdl.isa.config import Config
from etchnet.sim.arithmetic.reference import requantise
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import LinkError, LinkTrace
from etchnet.sim.timing import run_counts, schedule


def test_max_pooling_by_identity_tiles():
    """Four taps through identity tiles are folded with max; the bounds of the clamp are those of int8."""
    config, random = SMALL, np.random.default_rng(0)
    x = int8(random, (12, 4))
    passes = [
        Pass(
            kind=TileKind.IDENTITY,
            address=tap,
            step=4,
            pixels=3,
            fold=Fold.MAX if tap else Fold.SET,
            wait_input=not tap,
            wait_output=not tap,
            release=tap == 3,
            release_input=tap == 3,
        )
        for tap in range(4)
    ]
    drains = [Drain(pixels=3, destination=Destination.OUTPUT, commit=True)]
    passes, drains = schedule(passes, drains, config)
    packets = [
        *load(config, passes, drains, parameter_words(config, [PLAIN] * 4)),
        input_packet(config, x),
        run(config, passes, drains, 3),
    ]
    got, counts, _ = on_both(config, packets, 3)
    assert np.array_equal(got[0].view(np.int8), x.reshape(3, 4, 4).max(axis=1))
    assert counts == run_counts(passes, drains, config)


def test_depthwise_by_diagonal_tiles():
    config, random = SMALL, np.random.default_rng(1)
    x, taps = int8(random, (6, 4)), int8(random, (2, 4))
    weights = taps.reshape(2, 1, 4)
    passes = [
        Pass(
            kind=TileKind.DIAGONAL,
            weights=tap,
            address=tap,
            pixels=5,
            fold=Fold.ADD if tap else Fold.SET,
            wait_input=not tap,
            wait_output=not tap,
            release=bool(tap),
            release_input=bool(tap),
        )
        for tap in range(2)
    ]
    drains = [
        Drain(
            pixels=5,
            raw=True,
            wide=True,
            low=-(1 << 31),
            high=(1 << 31) - 1,
            stride=4,
            destination=Destination.OUTPUT,
            commit=True,
        )
    ]
    passes, drains = schedule(passes, drains, config)
    packets = [
        *load(config, passes, drains, parameter_words(config, [Parameters()] * 4), weights),
        input_packet(config, x),
        run(config, passes, drains, 20),
    ]
    got, _, _ = on_both(config, packets, 20)
    sums = x[:5].astype(np.int32) * taps[0] + x[1:].astype(np.int32) * taps[1]
    assert np.array_equal(np.ascontiguousarray(got[0]).view("<i4").reshape(5, 4), sums)


@pytest.mark.parametrize("requantisers", [1, 2, 4])
def test_residual_add_goes_back_into_the_accumulators(requantisers):
    """Each operand passes through an identity tile and a requantiser into the other bank; the sum becomes int8."""
    config = dataclasses.replace(SMALL, requantisers=requantisers)
    random = np.random.default_rng(2)
    a, b = int8(random, (6, 4)), int8(random, (6, 4))
    first = Parameters(bias=3, multiplier=1518500250, left=20, right=1)
    second = Parameters(bias=-7, multiplier=1073741900, left=20, right=2)
    third = Parameters(multiplier=1273741824, right=19)
    unclamped = {"low": -(1 << 31), "high": (1 << 31) - 1}
    groups = config.groups
    passes = [
        Pass(kind=TileKind.IDENTITY, address=0, pixels=6, bank=0, wait_input=True, wait_output=True, release=True),
        Pass(kind=TileKind.IDENTITY, address=6, pixels=6, bank=0, release=True),
        # One pixel goes into a row that nothing reads: the pass serves only to release the drains.
        Pass(kind=TileKind.IDENTITY, address=0, pixels=1, bank=0, row=15, release=True, release_input=True),
    ]
    drains = [
        Drain(bank=0, pixels=6, destination=Destination.ACCUMULATORS, into=1, address=2, **unclamped),
        Drain(
            bank=0,
            pixels=6,
            destination=Destination.ACCUMULATORS,
            into=1,
            address=2,
            fold=Fold.ADD,
            parameters=groups,
            **unclamped,
        ),
        Drain(
            bank=1, row=2, pixels=6, parameters=2 * groups, zero_point=5, destination=Destination.OUTPUT, commit=True
        ),
    ]
    passes, drains = schedule(passes, drains, config)
    parameters = parameter_words(config, [first] * 4 + [second] * 4 + [third] * 4)
    packets = [
        *load(config, passes, drains, parameters),
        input_packet(config, np.concatenate([a, b])),
        run(config, passes, drains, 6),
    ]
    got, counts, _ = on_both(config, packets, 6)
    total = sum(
        requantise(v.astype(np.int64) + p.bias, p.multiplier, p.left, p.right, **unclamped)
        for v, p in ((a, first), (b, second))
    )
    wanted = requantise(total, third.multiplier, third.left, third.right, zero_point=5)
    assert np.array_equal(got[0].view(np.int8), wanted)
    assert counts == run_counts(passes, drains, config)


def test_weights_are_streamed_while_a_program_runs():
    config, random = SMALL, np.random.default_rng(4)
    tiles, x = int8(random, (4, 4, 4)), int8(random, (3, 4))
    packets = streamed_weights(config, tiles, x)
    for trace in (None, traces(random)):
        got, counts, _ = on_both(config, packets, 6, 2, trace)
        for index, tile in enumerate(tiles):
            sums = x.astype(np.int64) @ tile.astype(np.int64)
            part = got[index // 2, 3 * (index % 2) :][:3].view(np.int8)
            assert np.array_equal(part, requantise(sums, 1 << 30, 0, 7))
        assert counts[Counter.WAIT_IN] > 0


def test_runs_queue_up():
    """One exchange has two programs with different outputs; the parameters of the second load while nothing runs."""
    config, random = SMALL, np.random.default_rng(7)
    x = int8(random, (4, 4))
    passes = [
        Pass(kind=TileKind.IDENTITY, pixels=pixels, wait_input=True, wait_output=True, release=True, release_input=True)
        for pixels in (4, 1)
    ]
    drains = [Drain(pixels=p.pixels, destination=Destination.OUTPUT, commit=True) for p in passes]
    packets = load(config, passes, drains, parameter_words(config, [PLAIN] * 4))
    for index, p in enumerate(passes):
        command = RunCommand(first_pass=index, first_drain=index, output_words=p.pixels)
        packets += [input_packet(config, x), packet(Target.RUN, command.words(config), config)]
    for trace in (None, LinkTrace(accepts=np.arange(400) % 9 == 0)):
        exact, rtl = (
            engine.exchange(np.concatenate(packets), 5)
            for engine in (ExactEngine(config, trace=trace), amaranth_engine(config, trace))
        )
        wanted = np.concatenate([x, x[:1]]).view(np.uint8)
        assert np.array_equal(exact.view(np.uint8).reshape(5, 4), wanted)
        assert np.array_equal(exact, rtl)


def test_runs_before_new_parameters_use_the_old_ones():
    config, random = SMALL, np.random.default_rng(8)
    x = int8(random, (3, 4))
    passes = [
        Pass(kind=TileKind.IDENTITY, pixels=3, wait_input=True, wait_output=True, release=True, release_input=True)
    ]
    drains = [Drain(pixels=3, destination=Destination.OUTPUT, commit=True)]
    packets = []
    for bias in (0, 10):
        parameters = parameter_words(config, [dataclasses.replace(PLAIN, bias=bias)] * 4)
        packets += [
            *load(config, passes, drains, parameters),
            input_packet(config, x),
            run(config, passes, drains, 3),
            counters_packet(config),
        ]
    count = 2 * (3 + 2 * len(Counter))
    exact, rtl = (
        engine.exchange(np.concatenate(packets), count) for engine in (ExactEngine(config), amaranth_engine(config))
    )
    assert np.array_equal(exact, rtl)
    second = exact[count // 2 :][:3].view(np.int8).reshape(3, 4)
    assert np.array_equal(second, np.clip(x.astype(int) + 10, -128, 127))


def test_packets_without_words_and_of_no_target():
    config = SMALL
    empty = packet(Target.INPUT, np.zeros((0, 1, 1), np.uint32), config, commit=True)
    for engine in (ExactEngine, amaranth_engine):
        words = engine(config).exchange(np.concatenate([empty, empty, counters_packet(config)]), 2 * len(Counter))
        assert not words.any()
    unknown = empty.copy()
    unknown[0] = 9
    with pytest.raises(LinkError, match="a packet names target 9; there are 7"):
        ExactEngine(config).exchange(unknown, 0)


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (8, 2), (2, 5)])
def test_feedback_of_several_tiles_follows_its_strides(rows, columns):
    config = Config(
        rows=rows,
        columns=columns,
        weight_tiles=8,
        activation_words=32,
        input_words=16,
        output_words=64,
        accumulator_rows=16,
        passes=16,
        drains=8,
        parameter_tiles=4,
    )
    x = int8(np.random.default_rng(9), (6, rows))
    packets, words = feedback_program(config, x)
    got, _, _ = on_both(config, packets, words)
    first = x[[0, 3, 1, 4, 2, 5]].astype(int) + [[0], [1]] * 3
    wanted = np.clip(first, -128, 127)[:, : min(rows, columns)]
    assert np.array_equal(got[0].reshape(6, -1).view(np.int8)[:, : min(rows, columns)], wanted)


def test_feedback_waits_for_the_row_that_it_adds_to():
    """There are two drains of one row each; the second adds to the row that the first has just set."""
    config = dataclasses.replace(SMALL, weight_rows=4)
    random = np.random.default_rng(10)
    x = int8(random, (2, 4))
    passes = [
        Pass(kind=TileKind.IDENTITY, address=0, row=0, wait_input=True, wait_output=True, release=True),
        Pass(kind=TileKind.IDENTITY, address=1, row=1, release=True),
        Pass(kind=TileKind.IDENTITY, address=0, row=2, release=True, release_input=True),
    ]
    drains = [
        Drain(row=0, destination=Destination.ACCUMULATORS, into=1),
        Drain(row=1, destination=Destination.ACCUMULATORS, into=1, fold=Fold.ADD),
        Drain(bank=1, destination=Destination.OUTPUT, commit=True),
    ]
    passes, drains = schedule(passes, drains, config)
    packets = [
        *load(config, passes, drains, parameter_words(config, [PLAIN] * 4)),
        input_packet(config, x),
        run(config, passes, drains, 1),
    ]
    got, _, _ = on_both(config, packets, 1)
    assert np.array_equal(got[0, 0].view(np.int8), np.clip(x.sum(axis=0, dtype=int), -128, 127))


def test_counters_may_be_requested_in_one_exchange_and_read_in_others():
    for engine in (ExactEngine, amaranth_engine):
        machine = engine(SMALL)
        assert len(machine.exchange(counters_packet(SMALL), 0)) == 0
        assert not machine.exchange(np.zeros((0, 1), np.uint32), 5).any()
        assert not machine.exchange(counters_packet(SMALL), 2 * len(Counter) - 5).any()
        assert not machine.exchange(np.zeros((0, 1), np.uint32), 2 * len(Counter)).any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([3, 40, *range(40)], "a WEIGHTS packet writes word 39; the last is 31"),
        ([3, 4, 0], "a packet of 4 link words ends after 1"),
        ([3], "a packet ends within its header"),
        ([5, 6, 0, 0, 0, 1, 1, 1], "a RUN packet must carry six numbers, .* not .0, 0, 0, 1, 1, 1."),
    ],
)
def test_damaged_packets_are_refused(words, message):
    with pytest.raises(LinkError, match=message):
        ExactEngine(SMALL).exchange(np.array(words, np.uint32)[:, None], 0)
