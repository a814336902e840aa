"""The search for orders, against all combinations of orders, each emitted and counted."""

import dataclasses
import itertools

import numpy as np
import pytest
from support.strategies import int8

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler import stages
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.compile import compile_network, compile_stages
from etchnet.host.compiler.emit.emitter import Emitter
from etchnet.host.compiler.emit.groups import Order
from etchnet.host.compiler.search import ScheduleCache, fewest_passes, possible_orders
from etchnet.host.network.layers import AveragePool, Conv, Depthwise, MaxPool
from etchnet.host.network.network import Network
from etchnet.sim.timing import run_counts

CONFIG = Config(rows=4, columns=4, accumulator_rows=32, weight_tiles=256, depthwise=2, residual_words=0)


@pytest.fixture(scope="module")
def network():
    """Return a convolution to two column tiles, a depthwise layer and a pool."""
    random = np.random.default_rng(0)
    layers = [
        Conv.from_scale(int8(random, (2, 2, 4, 8)), scale=0.01),
        Depthwise.from_scale(int8(random, (2, 2, 8, 1)), scale=0.01),
        AveragePool((3, 5)),
    ]
    return Network(layers, (5, 7, 4))


@pytest.fixture(scope="module")
def states(network):
    """Return the states of the compilation, with the thorough search."""
    return compile_stages(network, CONFIG)


def cycles_of(state, orders):
    """Return the cycles of a run in these orders, and from one run to the next; None if they cannot be emitted."""
    emitter = Emitter(CONFIG, state.memory)
    if any(emitter.groups(group, order, 0) is None for group, order in zip(state.groups, orders, strict=True)):
        return None
    code = stages.schedule(stages.synchronise(stages.emit(state.replace(orders=orders)))).code
    one, two = (run_counts(code.passes, code.drains, CONFIG, repeats=n)[Counter.CYCLES] for n in (1, 2))
    return one, two - one


def test_the_search_finds_the_best_of_all_combinations(states):
    state = states["allocate"]
    options = [possible_orders(group, CONFIG, 1, alone=False) for group in state.groups]
    assert len(list(itertools.product(*options))) > 50
    found = {orders: cycles_of(state, orders) for orders in itertools.product(*options)}
    counted = {orders: cycles for orders, cycles in found.items() if cycles is not None}
    best = min(one for one, _ in counted.values())
    assert counted[states["choose_orders"].orders][0] == best


def test_the_cycles_of_the_search_are_those_of_the_machine(states):
    """The search does not count the cycles before the first pass issues, which are always the same."""
    quick = stages.choose_orders(states["allocate"].replace(beam=1))
    for state in (states["choose_orders"], quick):
        one, _ = cycles_of(state, state.orders)
        assert 0 <= one - state.cycles <= 8


def test_orders_depend_on_the_machine_and_the_layer(states):
    conv, depthwise, pool = states["fuse"].groups
    methods = [{order.method for order in possible_orders(g, CONFIG, 1, alone=False)} for g in (conv, depthwise, pool)]
    assert methods == [{"taps"}, {"taps", "window"}, {"taps", "hold"}]
    without = dataclasses.replace(CONFIG, depthwise=0)
    assert {order.method for order in possible_orders(depthwise, without, 1, alone=False)} == {"taps"}
    # If a layer is alone, shorter strips cannot hide any drains.
    assert {order.rows for order in possible_orders(conv, CONFIG, 1, alone=True)} == {32}
    assert {order.rows for order in possible_orders(conv, CONFIG, 1, alone=False)} == {32, 16, 8}


def test_the_order_with_the_fewest_passes(states):
    emitter, cache = Emitter(CONFIG, states["allocate"].memory, draft=True), ScheduleCache()
    assert [fewest_passes(group, emitter, cache) for group in states["fuse"].groups] == [
        Order("taps", "tiles", 32),
        Order("window", "tiles", 32),
        Order("hold", "tiles", 32),
    ]
    fallback = stages.choose_orders(states["allocate"].replace(beam=0))
    assert fallback.cycles == 0
    chosen = states["emit"].code.passes
    assert len(stages.emit(fallback).code.passes) <= len(chosen)


@pytest.mark.parametrize(
    ("pool", "shape", "machine"),
    [
        # Channels are in several input words: held rows cannot take their maxima.
        (MaxPool((3, 3)), (3, 3, 9), {"rows": 3, "depthwise": 0}),
        # Lines longer than the line buffers.
        (Depthwise.from_scale(np.ones((2, 2, 4, 1), np.int8), scale=0.1), (3, 40, 4), {"line_words": 16}),
    ],
)
def test_the_last_resort_can_run_on_the_machine(pool, shape, machine):
    """A program that is too long is a CapacityError, even if another order would have fewer passes."""
    config = dataclasses.replace(CONFIG, passes=2, **machine)
    with pytest.raises(CapacityError, match="passes"):
        compile_network(Network([pool], shape), config)
