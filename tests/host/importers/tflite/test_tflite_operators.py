"""Operators of TensorFlow Lite files, and graphs of them, against TensorFlow Lite Micro, byte for byte."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import int8, randoms

from etchnet.sim.arithmetic.reference import quantise_multiplier, requantise

pytest.importorskip("tflite", reason="the package tflite is not installed")
import tflite
from support.model_strategies import OPERATORS, random_chain, tflite_graphs, tflite_operators
from support.tflite_operators import MORE_OPERATORS, REFUSALS, all_operators, one_operator
from support.tflm import run

from etchnet.host.exporters.flatbuffer import Graph
from etchnet.host.importers.tflite.importer import parse_tflite
from etchnet.host.network.model import ModelError

INT32 = tflite.TensorType.INT32


def ours(data, x):
    model = parse_tflite(data)
    return model.finish(model.network.reference(model.prepare(x)))


@pytest.mark.parametrize("kind", OPERATORS)
def test_every_operator_equals_the_runtime(kind):
    @settings(max_examples=60)
    @given(tflite_operators(kind))
    def check(case):
        data, x = case
        assert np.array_equal(ours(data, x), run(data, x))

    check()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", MORE_OPERATORS)
def test_operators_that_move_values_or_have_constants_equal_the_runtime(kind, batch):
    refused = []

    @settings(max_examples=25)
    @given(one_operator(kind, batch=batch))
    def check(case):
        data, x = case
        try:
            model = parse_tflite(data)
        except ModelError as error:
            assert re.search(REFUSALS, str(error)), error  # noqa: PT017
            refused.append(str(error))
            return
        expected = run(data, x, batch=batch)
        assert kind == "rows" or model.inputs[0].shape == x.shape[1:]
        x = x.reshape(-1, *model.inputs[0].shape)  # of rows, the first axis may be no batch
        got = model.finish(model.network.reference(model.prepare(x)))
        assert np.array_equal(got.reshape(expected.shape), expected)

    check()
    assert len(refused) < 13, refused[0]


@settings(max_examples=60)
@given(all_operators())
def test_random_graphs_of_all_operators_equal_the_runtime_or_are_refused(case):
    equal_or_refused(*case)


@pytest.mark.campaign
@settings(max_examples=20_000)
@given(all_operators(operators=14))
def test_a_campaign_of_random_graphs_of_all_operators(case):
    equal_or_refused(*case)


def equal_or_refused(data, x):
    try:
        model = parse_tflite(data)
    except ModelError as error:
        assert re.search(REFUSALS, str(error)), error  # noqa: PT017
        return
    expected = run(data, x)
    assert np.array_equal(model.finish(model.network.reference(model.prepare(x))).reshape(expected.shape), expected)


@settings(max_examples=150)
@given(tflite_graphs())
def test_random_graphs_equal_the_runtime(case):
    data, x = case
    assert np.array_equal(ours(data, x), run(data, x))


@settings(max_examples=40)
@given(tflite_graphs(batch=2, images=4))
def test_files_with_a_batch_equal_the_runtime(case):
    data, x = case
    assert np.array_equal(ours(data, x), run(data, x, batch=2))


@pytest.mark.campaign
@settings(max_examples=20_000)
@given(tflite_graphs(operators=14))
def test_a_campaign_of_random_graphs(case):
    data, x = case
    assert np.array_equal(ours(data, x), run(data, x))


@settings(max_examples=60)
@given(randoms(), st.booleans(), st.booleans())
def test_random_chains_with_float_ends_and_softmax_equal_the_runtime(random, softmax, float_ends):
    data, terms = random_chain(random, softmax=softmax, float_ends=float_ends)
    x = int8(random, (8, terms))
    if float_ends:
        x = (x.astype(np.float32) * random.uniform(0.001, 3)).astype(np.float32)
    assert np.array_equal(ours(data, x), run(data, x))


# Ties, which reveal another rounding or a multiplier made from another double


@pytest.mark.parametrize("kind", ["fully_connected", "conv_2d", "depthwise_conv_2d"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_biases_at_ties_equal_the_runtime(kind, per_channel):
    """Inputs at their zero point leave only the biases, whose products or shifted products are ties.

    A multiplier made from another double, or another rounding, would therefore change results.
    """
    random = np.random.default_rng(0)
    channels = 128
    for _ in range(30):
        scales = np.exp(random.uniform(-8, -1, channels if per_channel else 1)).astype(np.float32)
        out = float(np.float32(np.exp(random.uniform(-4, 2))))
        source = float(np.float32(np.exp(random.uniform(-4, 1))))
        # In units of the result, a bias is an odd number of halves, or one step from it.
        factor = source * scales.astype(np.float64) / out
        bias = np.rint((random.integers(-120, 120, channels) + 0.5) / factor) + random.integers(-1, 2, channels)
        bias = np.clip(bias, -(1 << 31), (1 << 31) - 1).astype(np.int32)
        g = Graph()
        shape, weights = {
            "fully_connected": ((1, 2), (channels, 2)),
            "conv_2d": ((1, 1, 1, 2), (channels, 1, 1, 2)),
            "depthwise_conv_2d": ((1, 1, 1, 1), (1, 1, 1, channels)),
        }[kind]
        first = g.activation("input", shape, source, 3)
        result = g.activation("result", (*shape[:-1], channels), out, -5)
        options = {"multiplier": channels} if kind == "depthwise_conv_2d" else {}
        getattr(g, kind)(first, np.ones(weights, np.int8), scales, bias, result, **options)
        data = g.write(first, result)
        x = np.full(shape, 3, np.int8)
        assert np.array_equal(ours(data, x), run(data, x))


def every_value(kind, scales, zeros):
    """Return a file with one operator, and all 256 inputs for it."""
    g = Graph()
    first = g.activation("input", (1, 16, 16, 1), scales[0], zeros[0])
    result = g.activation("result", (1, 16, 16, 1), scales[1], zeros[1])
    if kind == "MEAN":
        g.mean(first, [3], result, keep_dims=True)
    else:
        g.operator(kind, "", {}, [first], result)
    return g.write(first, result), np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)


def test_a_factor_that_is_an_int8_is_the_weight():
    """Others are replaced by a weight from 64 to 127 with the same results."""
    g, shape = Graph(), (1, 2, 2, 4)
    factors = g.activation("factors", (4,), 0.01, 100)
    g.tensors[factors].data = np.array([101, -27, -28, -29], np.int8)
    first = g.activation("input", shape, 0.1, 3)
    result = g.operator("MUL", "MulOptions", {}, [first, factors], g.activation("result", shape, 0.2, -4))
    (layer,) = parse_tflite(g.write(first, result)).network.layers
    weights = layer.weights.reshape(-1)
    assert weights[:3].tolist() == [1, -127, -128]
    assert -127 <= weights[3] <= -64
    x = np.random.default_rng(0).integers(-128, 128, (30, *shape[1:])).astype(np.int8)
    assert np.array_equal(ours(g.write(first, result), x), run(g.write(first, result), x))


@pytest.mark.parametrize(
    ("factor", "real", "zero", "end"),
    [
        (-194, 1.0821409270674, -120, -92),  # none is needed
        (254, 0.078125, 112, 110),  # a multiplier one larger
        (169, 0.1875, 25, 91),  # a multiplier one smaller
        (219, 0.00390625, -12, -89),  # a bias of 1
        (-185, 0.10920225251220113, 123, -113),  # a bias of -1
    ],
)
def test_factors_that_are_no_int8_and_need_another_multiplier_or_a_bias(factor, real, zero, end):
    g, shape = Graph(), (1, 16, 16, 1)
    constant = g.activation("factor", (1,), 1.0, -128 if factor > 0 else 127)
    g.tensors[constant].data = np.array([factor + g.tensors[constant].zero_points[0]], np.int8)
    first = g.activation("input", shape, real, zero)
    data = g.write(
        first, g.operator("MUL", "MulOptions", {}, [first, constant], g.activation("result", shape, 1.0, end))
    )
    x = np.arange(-128, 128).astype(np.int8).reshape(shape)
    assert np.array_equal(ours(data, x), run(data, x))


@pytest.mark.parametrize("sizes", [(1,), (5,)])
@pytest.mark.parametrize("kind", ["MUL", "ADD"])
@pytest.mark.parametrize("shape", [(1, 12, 5, 1), (1, 60)])
def test_constants_after_a_change_of_shape(kind, sizes, shape):
    """What is stored has one channel, or sixty, and the operator's operand five."""
    random, g = np.random.default_rng(4), Graph()
    first = at = g.activation("input", shape, 0.1, 3)
    if len(shape) == 4:
        at = g.pool_2d("max", at, g.like(at), window=(1, 1))
    lines = g.reshape(at, (1, 12, 5))
    constant = g.activation("constant", sizes, 0.05, -7)
    g.tensors[constant].data = int8(random, sizes)
    result = g.activation("result", (1, 12, 5), 0.2, 9)
    data = g.write(first, g.operator(kind, f"{kind.title()}Options", {}, [lines, constant], result))
    x = int8(random, (3, *shape[1:]))
    assert np.array_equal(ours(data, x), run(data, x))


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_concatenations_of_unequal_parts(axis):
    g, shape = Graph(), [1, 4, 5, 6]
    part, whole = ([n if a == axis % 4 else size for a, size in enumerate(shape)] for n in (2, 2 * shape[axis] + 2))
    first = g.activation("input", tuple(shape), 0.1, 3)
    sizes = [g.constant(np.array(values, np.int32)) for values in ([0] * 4, part)]
    other = g.operator("SLICE", "", {}, [first, *sizes], g.like(first, tuple(part)))
    data = g.write(first, g.concatenation([first, other, first], axis, g.like(first, tuple(whole))))
    x = int8(np.random.default_rng(3), (2, *shape[1:]))
    assert np.array_equal(ours(data, x), run(data, x))


def dilated_lines(around):
    """Return a file with a dilated convolution of lines, as converters write it."""
    random, g = np.random.default_rng(1), Graph()
    block, border = (g.constant(np.array(value, np.int32)) for value in ([2], [[0, 0]]))
    first = g.activation("input", (1, 12, 3), 0.1, 3)
    cut = g.operator("SPACE_TO_BATCH_ND", "", {}, [first, block, border], g.like(first, (2, 6, 3)))
    made = g.activation("made", (2, 1, 4, 4), 1.5, -7)
    g.conv_2d(g.reshape(cut, around), int8(random, (4, 1, 3, 3)), [0.02] * 4, None, made)
    lines = g.reshape(made, (2, 4, 4))
    last = g.operator("BATCH_TO_SPACE_ND", "", {}, [lines, block, border], g.like(made, (1, 8, 4)))
    return g.write(first, last)


def test_a_dilated_convolution_of_lines():
    data, x = dilated_lines((2, 1, 6, 3)), int8(np.random.default_rng(2), (5, 12, 3))
    assert np.array_equal(ours(data, x).ravel(), run(data, x).ravel())
    (layer,) = parse_tflite(data).network.layers
    assert layer.dilation == (1, 2)
    with pytest.raises(ModelError, match=r"RESHAPE \(operator 1\) must keep interleaved images: \(2, 6, 3\) to \(2, 1"):
        parse_tflite(dilated_lines((2, 1, 3, 6)))


def by_factor(x, factor, zeros, low=-128):
    multiplier, shift = quantise_multiplier(factor)
    return requantise(
        x.astype(np.int64) - zeros[0], multiplier, max(shift, 0), max(-shift, 0), zero_point=zeros[1], low=low
    )


def telling_scales(random, count):
    """Return scales (before, after) and zero points for which quotients in float32 and double give other results."""
    found, x = [], np.arange(-128, 128)
    while len(found) < count:
        out = np.float32(random.uniform(0.01, 0.02))
        tie = (2 * random.integers(0, 100) + 1) / (2 * random.integers(50, 128))
        source, zeros = np.float32(out * tie), tuple(int(z) for z in random.integers(-128, 128, 2))
        single, double = float(source / out), float(source) / float(out)
        if not np.array_equal(by_factor(x, single, zeros), by_factor(x, double, zeros)):
            found.append(((float(source), float(out)), zeros))
    return found


@pytest.mark.parametrize("kind", ["RELU", "QUANTIZE", "MEAN"])
def test_every_value_requantised_equals_the_runtime(kind):
    cases = [((a, b), z) for a in (1.0, 0.5, 3.0) for b in (1.5, 2.0, 0.25) for z in ((0, 0), (-128, 5), (127, -128))]
    for scales, zeros in cases + telling_scales(np.random.default_rng(0), 80):
        data, x = every_value(kind, scales, zeros)
        assert np.array_equal(ours(data, x), run(data, x)), (scales, zeros)


@pytest.mark.parametrize("zero", [-128, 0, 17, 127])
@pytest.mark.parametrize("scale", [6 / 255, 0.04, 6 / 2.5, 100.0])
def test_relu6_clamps_like_the_runtime(zero, scale):
    g = Graph()
    first = g.activation("input", (1, 16, 16, 1), scale, zero)
    result = g.operator("RELU6", "", {}, [first], g.like(first))
    at = g.operator("QUANTIZE", "", {}, [result], g.activation("out", (1, 16, 16, 1), scale * 1.1, zero))
    data, x = g.write(first, at), every_value("RELU", (1, 1), (0, 0))[1]
    assert np.array_equal(ours(data, x), run(data, x))


@pytest.mark.parametrize(
    ("scales", "zeros"),
    [
        ((1.0, 1.0, 2.0), (0, 0, 0)),
        ((1.0, 1.0, 2.0), (-128, 127, -1)),
        ((1.0, 0.5, 1.0), (3, -9, 0)),
        ((0.25, 1.0, 1.5), (127, -128, 11)),
        ((0.1, 0.3, 0.25), (0, 5, -128)),
        ((0.7, 1e-9, 0.5), (0, 5, 0)),  # the second operand's multiplier is flushed to zero
        ((0.037, 0.0123, 0.041), (-11, 99, 4)),
        ((0.037, 0.037, 4.0), (-128, -128, -128)),
        ((0.5, 0.25, 1e6), (-128, -128, 3)),
        ((1.0, 1.0, 2.0**-18.9), (0, 0, 0)),  # as small as the result's scale may be
    ],
)
@pytest.mark.parametrize("activation", [0, 1, 3])
def test_every_pair_added_equals_the_runtime(scales, zeros, activation):
    """Each operand is one channel of the input; kernels that only move values separate the channels."""
    g, x = Graph(), np.arange(-128, 128).astype(np.int8)
    first = g.activation("input", (1, 256, 256, 2), 1.0, 0)
    operands = []
    for channel in range(2):
        weights = np.zeros((1, 1, 1, 2), np.int8)
        weights[..., channel] = 1
        apart = g.activation(f"apart {channel}", (1, 256, 256, 1), scales[channel], zeros[channel])
        bias = np.array([-zeros[channel]], np.int32)
        operands.append(g.conv_2d(first, weights, [scales[channel]], bias, apart))
    result = g.activation("result", (1, 256, 256, 1), scales[2], zeros[2])
    g.add(*operands, result, activation=activation)
    data = g.write(first, result)
    pairs = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)[None]
    assert np.array_equal(ours(data, pairs), run(data, pairs))


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize(
    ("paddings", "value", "layers"),
    [
        ([(0, 0), (1, 1), (2, 1), (0, 0)], None, 1),
        ([(0, 0), (0, 2), (0, 0), (0, 0)], 7, 1),  # the zero point
        ([(0, 0), (0, 2), (0, 0), (0, 0)], 8, 2),
        ([(0, 0), (1, 0), (0, 0), (0, 1)], None, 2),  # another channel
        ([(0, 0), (3, 0), (0, 0), (0, 0)], None, 2),  # wider than the kernel
    ],
)
def test_a_border_of_zero_points_before_a_convolution_is_padding(paddings, value, layers, same, deep):
    random, g = np.random.default_rng(0), Graph()
    first = g.activation("input", (1, 5, 6, 3), 0.1, 7)
    shape = tuple(n + sum(pair) for n, pair in zip((1, 5, 6, 3), paddings, strict=True))
    border = g.pad(first, paddings, g.like(first, shape), value=value)
    size = [-(-n // 2) if same else (n - 3) // 2 + 1 for n in shape[1:3]]
    result = g.activation("result", (1, *size, shape[3] if deep else 5), 2.0, 4)
    weights = int8(random, (1 if deep else 5, 3, 3, shape[3]))
    convolve = g.depthwise_conv_2d if deep else g.conv_2d
    data, x = (
        g.write(first, convolve(border, weights, [0.02], None, result, stride=(2, 2), same=same)),
        int8(random, (4, 5, 6, 3)),
    )
    assert np.array_equal(ours(data, x), run(data, x))
    assert len(parse_tflite(data).network.layers) == layers


@pytest.mark.parametrize("count", [(1, 2), (2, 2), (3, 5), (7, 7), (6, 8)])
@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.5, 1.0), (1.0, 0.125), (0.3, 0.7), (1e-12, 1.0)])
def test_means_at_ties_equal_the_runtime(count, scales):
    random, g = np.random.default_rng(1), Graph()
    first = g.activation("input", (1, *count, 40), scales[0], -7)
    result = g.activation("result", (1, 40), scales[1], 9)
    g.mean(first, [1, 2], result)
    data = g.write(first, result)
    x = np.concatenate([int8(random, (6, *count, 40)), random.integers(-9, -4, (6, *count, 40)).astype(np.int8)])
    assert np.array_equal(ours(data, x), run(data, x))


def test_relu_n1_to_1_equals_the_reference_kernels_of_litert():
    """TensorFlow Lite Micro has no such operator."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="ai_edge_litert is not installed")
    for scales, zeros in telling_scales(np.random.default_rng(2), 40):
        data, x = every_value("RELU_N1_TO_1", scales, zeros)
        runtime = interpreter.Interpreter(
            model_content=data, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
        )
        runtime.allocate_tensors()
        runtime.set_tensor(runtime.get_input_details()[0]["index"], x)
        runtime.invoke()
        assert np.array_equal(ours(data, x), runtime.get_tensor(runtime.get_output_details()[0]["index"]))
