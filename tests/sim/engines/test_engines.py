"""One driver, several engines: outputs equal numpy's, counters and cycles are equal, and time never depends on data."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import COMPILED
from support.programs import amaranth_engine
from support.strategies import CHOICES, MACHINES, configs, int8, machines, randoms, traces

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network
from etchnet.sim.engines.link import LinkError
from etchnet.sim.engines.verilated import MissingToolError, find_compiler, find_verilator

WAITS = (Counter.CYCLES, Counter.WAIT_IN, Counter.WAIT_OUT)


def has_verilator():
    try:
        find_verilator()
        find_compiler()
    except MissingToolError:
        return False
    return True


needs_verilator = pytest.mark.skipif(not has_verilator(), reason="no Verilator or no C++ compiler")


def layer(random, terms, channels, *, wide):
    """Return a layer with biases, multipliers, shifts and zero points of every size."""
    weights = int8(random, (terms, channels))
    if wide:
        bias = random.integers(-(1 << 31), 1 << 31, channels)
        return Dense(weights, bias, low=0 if random.random() < 0.5 else None)
    return Dense(
        weights,
        random.integers(-(1 << 20), 1 << 20, channels),
        random.integers(0, 1 << 31, channels),
        random.integers(-20, 4, channels),
        input_zero_point=int(random.integers(-128, 128)),
        zero_point=int(random.integers(-128, 128)),
        low=int(random.integers(-128, 1)),
    )


def accelerator_on(config, engine, trace=None):
    """Return an accelerator; machines in Amaranth's simulator are elaborated once."""
    if engine == "amaranth":
        return Accelerator(engine=amaranth_engine(config, trace))
    return Accelerator(config, engine=engine, trace=trace)


def outcome(config, engine, layers, x, batch, trace):
    accelerator = accelerator_on(config, engine, trace)
    accelerator.load(Network(layers), batch=batch)
    result = accelerator.run(x)
    return result, accelerator.counts.totals, accelerator.engine


def agree(config, engines, layers, x, batch, trace):
    """Run on all engines, check that results and counters are equal, and return the counters."""
    results = [outcome(config, engine, layers, x, batch, trace) for engine in engines]
    wanted = Network(layers).reference(x)
    for result, counts, engine in results:
        assert np.array_equal(result, wanted), engine.name
        assert counts == results[0][1], engine.name
        assert engine.cycle == results[0][2].cycle, engine.name
    return results[0][1], results[-1][2]


@st.composite
def products(draw, machines):
    """Draw a machine, and M, K and N from 1 to 70, half of them small."""
    return draw(machines), [draw(st.one_of(st.integers(1, 12), st.integers(1, 70))) for _ in range(3)]


def product_agrees(product, random, wide, *, most):
    """Compare the exact engine with numpy, and the RTL with the exact engine if that takes at most `most` cycles."""
    config, (rows, terms, channels) = product
    x, one = int8(random, (rows, terms)), layer(random, terms, channels, wide=wide)
    one, trace = dataclasses.replace(one, input_zero_point=0), traces(random)
    exact = Accelerator(config, trace=trace)
    expected = exact._product(x, one)
    assert np.array_equal(expected, one.reference(x))
    if exact.engine.cycle <= most:
        rtl = accelerator_on(config, "amaranth", trace)
        assert np.array_equal(rtl._product(x, one), expected)
        assert rtl.counts == exact.counts
        assert rtl.engine.cycle == exact.engine.cycle


def test_the_shared_machines_have_every_value():
    for name, values in CHOICES.items():
        assert {getattr(config, name) for config in MACHINES} == set(values), name
    shapes = {(c.rows > c.columns, c.rows < c.columns, c.tiles_per_word > 1) for c in MACHINES}
    assert len(shapes) == 4
    assert {1, 2} <= {c.groups for c in MACHINES}


@settings(max_examples=20)
@given(products(machines()), randoms(), st.booleans())
def test_any_product_on_any_machine(product, random, wide):
    """Products that are too large for the machine are cut into programs; links stall."""
    product_agrees(product, random, wide, most=1200)


@settings(max_examples=9)
@given(machines(), randoms(), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_networks_keep_their_activations_on_the_chip(config, random, depth, batch, wide):
    config = dataclasses.replace(
        config,
        weight_tiles=1000,
        passes=1024,
        activation_words=512,
        output_words=256,
        input_words=256,
        parameter_tiles=200,
    )
    widths = [int(w) for w in random.integers(1, 16, depth + 1)]
    layers = [
        layer(random, a, b, wide=wide and i == depth - 1)
        for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
    ]
    x = int8(random, (int(random.integers(1, 5)), widths[0]))
    agree(config, ("exact", "amaranth"), layers, x, batch, traces(random))


@settings(max_examples=3)
@given(machines(3), randoms())
def test_time_never_depends_on_data(config, random):
    """Counters are the same for any data; only waits depend on the trace, and a recorded trace repeats them."""
    config = dataclasses.replace(config, weight_tiles=200, output_words=256, input_words=64)
    one = layer(random, 9, 7, wide=False)
    trace = traces(random)
    counts = []
    for _ in range(2):
        x = int8(random, (4, 9))
        found, engine = agree(config, ("exact", "amaranth"), [one], x, 2, trace)
        counts.append(found)
        one = dataclasses.replace(one, weights=int8(random, (9, 7)), bias=random.integers(-99, 99, 7))
    assert counts[0] == counts[1]
    unstalled = Accelerator(config)
    unstalled.load(Network([one]), batch=2)
    unstalled.run(x)
    for counter in Counter:
        if counter not in WAITS:
            assert counts[0][counter] == unstalled.counts[counter]
    waits = counts[0][Counter.WAIT_IN] + counts[0][Counter.WAIT_OUT]
    idle = unstalled.counts[Counter.WAIT_IN] + unstalled.counts[Counter.WAIT_OUT]
    assert counts[0][Counter.CYCLES] - waits == unstalled.counts.cycles - idle
    replayed, _ = agree(config, ("exact",), [one], x, 2, engine.record)
    assert replayed == counts[1]


@pytest.mark.parametrize("engine", ["exact", "amaranth"])
def test_inputs_arrive_and_results_leave_while_the_array_computes(engine):
    """If computing takes longer than the link, ten inputs take ten times one input: no cycle waits for the link."""
    config = Config(rows=4, columns=4, input_words=64, output_words=64, weight_tiles=32)
    accelerator = Accelerator(config, engine=engine)
    program = accelerator.load(Network([Dense(np.ones((16, 16), np.int8), multiplier=1 << 30)]), batch=16)
    accelerator.run(np.ones((160, 16), np.int8))
    assert accelerator.counts.totals == program.counts(repeats=10)
    assert accelerator.counts[Counter.WAIT_IN] == accelerator.counts[Counter.WAIT_OUT] == 0
    assert accelerator.counts[Counter.ISSUE] == 10 * 16 * 16
    assert accelerator.counts.cycles < 10 * 16 * 16 + 60


def test_an_engine_that_waits_forever_raises_an_error():
    config = Config(rows=2, columns=2)
    for engine, options in (("exact", {}), ("amaranth", {"patience": 200})):
        accelerator = Accelerator(config, engine=engine, **options)
        with pytest.raises(LinkError, match="1 of 1 words have not come"):
            accelerator.engine.exchange(np.zeros((0, 1), np.uint32), 1)


VERILATED = [
    COMPILED,
    Config(
        rows=8,
        columns=3,
        weight_rows=4,
        weight_tiles=64,
        accumulator_rows=8,
        passes=128,
        drains=64,
        multiplier_latency=2,
        link_bits=64,
    ),
    Config(
        rows=3,
        columns=8,
        weight_rows=3,
        requantisers=2,
        weight_tiles=64,
        accumulator_rows=16,
        passes=128,
        drains=64,
        link_bits=96,
    ),
]


@needs_verilator
@pytest.mark.parametrize("config", VERILATED, ids=lambda c: f"{c.rows}x{c.columns}")
def test_the_compiled_verilog_agrees(config):
    random = np.random.default_rng(config.rows)
    for wide in (False, True):
        layers = [layer(random, 13, 9, wide=False), layer(random, 9, 11, wide=wide)]
        x = int8(random, (7, 13))
        for trace in (None, traces(random)):
            agree(config, ("exact", "verilator"), layers, x, 2, trace)
    for stream in (False, True):
        accelerators = [Accelerator(config, engine=engine) for engine in ("exact", "verilator")]
        x, w = int8(random, (9, 20)), int8(random, (20, 10))
        results = [a.matmul_relu(x, w, 5, scale=0.01, stream=stream) for a in accelerators]
        assert np.array_equal(results[0], Dense.from_scale(w, 5, scale=0.01, low=0).reference(x))
        assert np.array_equal(*results)
        assert accelerators[0].counts == accelerators[1].counts
        assert accelerators[0].engine.cycle == accelerators[1].engine.cycle


@pytest.mark.campaign
@settings(settings.get_profile("campaign"))
@given(products(configs()), randoms(), st.booleans())
def test_campaign_of_random_products(product, random, wide):
    """A thousand random products on random machines: the exact engine against the RTL."""
    product_agrees(product, random, wide, most=20_000)
