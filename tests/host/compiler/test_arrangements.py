"""Arrangements: every choice gives the results of the reference, on the exact engine and on the RTL."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.needs import MODELS, needs_models
from support.strategies import int8, randoms

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.arrangement import Arrangement, Axis
from etchnet.host.compiler.arrangements import ArrangedNetwork, Choice, arrangement_choices
from etchnet.host.compiler.compile import PIPELINE, Stage, compile_network, compile_stages
from etchnet.host.driver.driver import Accelerator
from etchnet.host.importers.load import load_model
from etchnet.host.network.layers import Conv, Dense, Depthwise, MaxPool, Slice
from etchnet.host.network.network import Network
from etchnet.host.reports.report import pass_rows
from etchnet.sim.timing import check

LARGE = {
    "weight_tiles": 1 << 14,
    "activation_words": 1 << 13,
    "input_words": 1 << 13,
    "output_words": 1 << 12,
    "passes": 1 << 14,
    "drains": 1 << 13,
    "parameter_tiles": 512,
}


def choices_of(network, config, batch=1):
    """Return all choices of arrangements for a network, the most promising first."""
    return arrangement_choices(ArrangedNetwork(network, config, batch))


def forced(choice):
    """Return the pipeline of the compiler with only one choice of arrangements."""

    def arrange(state):
        return state.replace(choices=[choice], choice=choice)

    return [Stage(arrange, stage.dump) if stage.name == "arrange" else stage for stage in PIPELINE]


@st.composite
def windowed(draw, channels, zero_points):
    """Draw a layer with a window and few channels, of any kernel, stride, dilation and padding."""
    random, depthwise = draw(randoms()), draw(st.booleans())
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    plain = draw(st.booleans())
    outputs = draw(st.integers(1, 3 if channels < 3 else 1)) if depthwise else draw(st.integers(1, 4))
    results = channels * outputs if depthwise else outputs
    dilation = (1, 1) if plain else draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    return (Depthwise if depthwise else Conv).from_scale(
        int8(random, (*kernel, channels, outputs)),
        random.integers(-999, 999, results),
        scale=random.uniform(0.001, 0.02, results),
        input_zero_point=zero_points[0],
        zero_point=zero_points[1],
        low=draw(st.sampled_from([-128, zero_points[1]])),
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if not plain else (1, 1),
        dilation=dilation,
        padding=draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)),
    )


@st.composite
def networks(draw):
    """Draw a chain of windowed layers with few channels, after which a dense layer may follow."""
    shape = draw(st.integers(7, 12)), draw(st.integers(7, 12)), draw(st.integers(1, 3))
    zero_points = draw(st.lists(st.integers(-128, 127), min_size=4, max_size=4))
    layers, size = [], shape
    for index in range(draw(st.integers(1, 3))):
        layer = draw(windowed(size[2], zero_points[index : index + 2]))
        try:
            size = layer.shape(size)
        except ValueError:
            break
        layers.append(layer)
    if not layers or draw(st.booleans()):
        random = draw(randoms())
        weights = int8(random, (int(np.prod(size)), draw(st.integers(1, 5))))
        layers.append(Dense.from_scale(weights, scale=0.002, input_zero_point=zero_points[len(layers)]))
    return Network(layers, shape)


@st.composite
def machines(draw):
    """Draw machines of every shape up to 16 x 16."""
    rows = draw(st.sampled_from([3, 4, 8, 9, 16]))
    columns = draw(st.sampled_from([rows, rows, 4, 6, 8, 16]))
    depthwise = [0, *(n for n in (2, 3) if n * n <= rows)] if rows == columns else [0]
    return Config(
        rows=rows,
        columns=columns,
        weight_rows=draw(st.sampled_from([n for n in range(1, rows + 1) if rows % n == 0])),
        accumulator_rows=draw(st.sampled_from([16, 33, 64])),
        residual_words=0,
        depthwise=draw(st.sampled_from(depthwise)),
        line_words=64,
        **LARGE,
    )


def computes(network, config, choice, x, *, engine="exact"):
    """Return the results and the program of a network with forced arrangements."""
    accelerator = Accelerator(config, engine=engine)
    program = compile_network(network, config, batch=max(1, len(x) - 1), pipeline=forced(choice))
    accelerator.load_program(program)
    y = accelerator.run(x)
    check(program.passes, program.drains, config, repeats=2)
    return y, program, accelerator


def agrees(network, config, random, data, *, batch=1, most=4):
    """Check some choices of arrangements against the reference, and their bounds against the cycles."""
    x = int8(random, (batch + 1, network.input_size))
    expected = network.reference(x)
    choices = choices_of(network, config, batch)
    bounds = [choice.bound for choice in choices]
    assert bounds == sorted(bounds)
    for choice in data.draw(st.lists(st.sampled_from(choices), min_size=1, max_size=most, unique_by=id)):
        y, program, _ = computes(network, config, choice, x)
        assert np.array_equal(y, expected), choice
        assert choice.bound <= max(program.counts()[Counter.CYCLES], program.link_cycles()[0])


@settings(max_examples=14)
@given(networks(), machines(), randoms(), st.integers(1, 2), st.data())
def test_every_choice_computes_the_same(network, config, random, batch, data):
    agrees(network, config, random, data, batch=batch)


@pytest.mark.campaign
@settings(settings.get_profile("campaign"), max_examples=1000)
@given(networks(), machines(), randoms(), st.integers(1, 2), st.data())
def test_campaign_of_every_choice(network, config, random, batch, data):
    agrees(network, config, random, data, batch=batch, most=20)


SMALL = Config(
    rows=4,
    columns=4,
    depthwise=2,
    line_words=64,
    accumulator_rows=32,
    residual_words=0,
    weight_tiles=128,
    activation_words=128,
    input_words=256,
    output_words=128,
    passes=256,
    drains=64,
    parameter_tiles=16,
)


def depthwise_block(random, height, width):
    """Make a convolution, a depthwise layer and a pointwise one, with few channels, as MobileNets begin."""
    same, options = ((1, 1), (1, 1)), {"zero_point": -7, "low": -7}
    return Network(
        [
            Conv.from_scale(int8(random, (3, 3, 1, 2)), scale=0.02, padding=same, input_zero_point=3, **options),
            Depthwise.from_scale(int8(random, (3, 3, 2, 1)), scale=0.01, padding=same, input_zero_point=-7, **options),
            Conv.from_scale(int8(random, (1, 1, 2, 3)), scale=0.01, input_zero_point=-7),
        ],
        (height, width, 1),
    )


def bands(choices):
    """Return the best choice in which both narrow tensors are in bands, the first with the lines around each band."""
    return next(c for c in choices if {0, 1} <= set(c.arrangements) and c.arrangements[0].y.offsets[0] == -1)


@settings(max_examples=10)
@given(randoms(), st.integers(4, 9), st.integers(3, 6))
def test_bands_keep_depthwise_passes(random, height, width):
    """Two bands of lines side by side are twice as many channels for the depthwise passes."""
    network = depthwise_block(random, height, width)
    choice = bands(choices_of(network, SMALL))
    x = int8(random, (2, network.input_size))
    y, _, _ = computes(network, SMALL, choice, x)
    assert np.array_equal(y, network.reference(x))
    lines = -(-height // 2)
    assert choice.arrangements[0].y.offsets == (-1, lines - 1)
    assert choice.arrangements[0].shape(2) == (lines + 2, width, 4)
    depthwise = compile_stages(network, SMALL, pipeline=forced(choice))["fuse"].groups[1]
    assert all(part.operands[0].window.shape == (3, 3, 4) for part in depthwise.parts)


@pytest.mark.parametrize("in_bands", [True, False])
def test_arranged_networks_equal_the_rtl(in_bands):
    """Bands with the lines around them, and neighbours of which one is outside the image, before a dense layer."""
    random = np.random.default_rng(4)
    network = depthwise_block(random, 5, 4)
    if not in_bands:
        dense = Dense.from_scale(int8(random, (5 * 4 * 2, 3)), scale=0.01, input_zero_point=-7)
        network = Network([network.layers[0], dense], network.input_shapes)
    choices = choices_of(network, SMALL)
    choice = bands(choices) if in_bands else next(c for c in choices if 0 in c.arrangements)
    x = int8(random, (1, network.input_size))
    (y, _, exact), (z, _, rtl) = (computes(network, SMALL, choice, x, engine=name) for name in ("exact", "amaranth"))
    assert np.array_equal(y, network.reference(x))
    assert np.array_equal(z, y)
    assert rtl.counts == exact.counts
    assert rtl.engine.cycle == exact.engine.cycle


@needs_models
@pytest.mark.parametrize(
    ("name", "cycles", "link"), [("micro_speech_int8", 5733, 2000), ("vww_96_int8", 45_092, 19_968)]
)
def test_public_networks_with_narrow_tensors(name, cycles, link):
    network = load_model(Path(MODELS) / f"{name}.tflite").network
    config = Config(weight_tiles=1024, activation_words=8192, input_words=8192, parameter_tiles=256)
    program = compile_network(network, config)
    assert program.counts()[Counter.CYCLES] == cycles
    assert program.link_cycles()[0] == link
    machine = Accelerator(config)
    machine.load_program(program)
    x = int8(np.random.default_rng(0), (1, network.input_size))
    assert np.array_equal(machine.run(x), network.reference(x))


def test_reports_name_the_pixels_of_the_image():
    """Each pass of two lines side by side is named by the first line; a tap by the first of its pixels in the image."""
    random = np.random.default_rng(2)
    conv = Conv.from_scale(int8(random, (3, 3, 2, 2)), scale=0.01, padding=((1, 1), (1, 1)))
    dense = Dense.from_scale(int8(random, (6 * 5 * 2, 3)), scale=0.01)
    network = Network([conv, dense], (6, 5, 2))
    lines = Arrangement(Axis.neighbours(6, 2), Axis(5))
    choice = Choice({0: lines})
    assert choice.arrangements in [found.arrangements for found in choices_of(network, SMALL)]
    program = compile_network(network, dataclasses.replace(SMALL, accumulator_rows=5), pipeline=forced(choice))
    rows = [row for row in pass_rows(program) if row["layer"] == 0]
    # Three stored lines of five pixels, a strip each; the stored result lines 0 and 1 need the image's lines -1 to 2.
    assert sorted({row["first_pixel"] for row in rows}) == [0, 2 * 5, 4 * 5]
    assert {row["tap"] for row in rows} == {f"{y:+d}{x:+d}" for y in range(-1, 3) for x in range(-1, 2)}


def test_taps_of_a_layer_that_reads_through_a_slice_are_those_of_the_tensor_before_it():
    """A slice of every second line and column from (3, 2) on: tap (y, x) is at (3 + 2 y, 2 + 2 x)."""
    random = np.random.default_rng(3)
    layers = [
        MaxPool((1, 1)),
        Slice((3, 2, 0), (6, 5, 4), (2, 2, 1)),
        Conv.from_scale(int8(random, (3, 3, 4, 2)), scale=0.01),
        Dense.from_scale(int8(random, (4 * 3 * 2, 3)), scale=0.01),
    ]
    network = Network(layers, (16, 14, 4))
    lines = Arrangement(Axis.neighbours(4, 2), Axis(3))
    for choice, most in ((Choice(), 3), (Choice({2: lines}), 4)):
        program = compile_network(network, dataclasses.replace(SMALL, **LARGE), pipeline=forced(choice))
        assert 1 not in program.layers
        taps = {row["tap"] for row in pass_rows(program) if row["layer"] == 2}
        assert taps == {f"{3 + 2 * y:+d}{2 + 2 * x:+d}" for y in range(most) for x in range(3)}
