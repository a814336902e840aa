"""Models from TensorFlow Lite files against TensorFlow Lite Micro, byte for byte."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.needs import DATA, MODELS, needs_data, needs_models
from support.strategies import int8, randoms

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.data import fashion
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Dense, MaxPool, Reshape
from etchnet.host.network.model import ModelError, Quantisation
from etchnet.sim.arithmetic.reference import quantise_multiplier, requantise

tflite = pytest.importorskip("tflite", reason="the package tflite is not installed")
from support.model_strategies import OPERATORS, tflite_graphs, tflite_operators  # noqa: E402
from support.tflm import results, run, with_output  # noqa: E402

from etchnet.host.exporters.flatbuffer import Graph  # noqa: E402
from etchnet.host.exporters.tflite import to_tflite  # noqa: E402
from etchnet.host.importers.tflite.importer import parse_tflite  # noqa: E402

INT32 = tflite.TensorType.INT32


def ours(data, x):
    model = parse_tflite(data)
    return model.finish(model.network.reference(model.prepare(x)))


def real_model(name):
    return (Path(MODELS) / f"{name}_int8.tflite").read_bytes()


# Operators, and graphs of them


@pytest.mark.parametrize("kind", OPERATORS)
def test_every_operator_equals_the_runtime(kind):
    @settings(max_examples=60)
    @given(tflite_operators(kind))
    def check(case):
        data, x = case
        assert np.array_equal(ours(data, x), run(data, x))

    check()


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


def random_model(random, *, softmax=False, float_ends=False):
    """A chain of one to four fully connected layers with every kind of scale, and a softmax or float ends."""
    g, batch = Graph(), 1
    widths = [int(w) for w in random.integers(1, 40, random.integers(2, 6))]
    scale, point = float(random.uniform(0.01, 2)), int(random.integers(-128, 128))
    at = first = g.activation("input", (batch, widths[0]), scale, point)
    if float_ends:
        first = g.tensor("real", (batch, widths[0]), tflite.TensorType.FLOAT32)
        g.simple(tflite.BuiltinOperator.QUANTIZE, first, at)
    for terms, channels in zip(widths, widths[1:], strict=False):
        per_channel = bool(random.integers(2))
        scales = np.exp(random.uniform(-9, 0, channels if per_channel else 1)).astype(np.float32)
        if per_channel and random.random() < 0.3:
            scales[random.integers(channels)] = 1e-20  # its multiplier is flushed to zero
        out = float(scale * np.median(scales) * random.uniform(5, 200) * np.sqrt(terms))
        zero = int(random.integers(-128, 128))
        result = g.activation(f"layer{len(g.operators)}", (batch, channels), out, zero)
        bias = random.integers(-(1 << 14), 1 << 14, channels).astype(np.int32) if random.random() < 0.8 else None
        weights = int8(random, (channels, terms))
        at = g.fully_connected(at, weights, scales, bias, result, activation=int(random.choice([0, 1, 2, 3])))
        scale = out
    if softmax:
        at = g.softmax(at, (batch, widths[-1]), float(random.choice([1.0, 0.5])))
    if float_ends:
        real = g.tensor("out", (batch, widths[-1]), tflite.TensorType.FLOAT32)
        at = g.simple(tflite.BuiltinOperator.DEQUANTIZE, at, real)
    return g.write(first, at), widths[0]


@settings(max_examples=60)
@given(randoms(), st.booleans(), st.booleans())
def test_random_chains_with_float_ends_and_softmax_equal_the_runtime(random, softmax, float_ends):
    data, terms = random_model(random, softmax=softmax, float_ends=float_ends)
    x = int8(random, (8, terms))
    if float_ends:
        x = (x.astype(np.float32) * random.uniform(0.001, 3)).astype(np.float32)
    assert np.array_equal(ours(data, x), run(data, x))


# Ties: where another rounding, or a multiplier from another double, shows


@pytest.mark.parametrize("kind", ["fully_connected", "conv_2d", "depthwise_conv_2d"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_biases_at_ties_equal_the_runtime(kind, per_channel):
    """Inputs at their zero point leave the biases alone, which lie where their products, or shifted products, are ties.

    So a multiplier made from another double, or another rounding, shows.
    """
    random = np.random.default_rng(0)
    channels = 128
    for _ in range(30):
        scales = np.exp(random.uniform(-8, -1, channels if per_channel else 1)).astype(np.float32)
        out = float(np.float32(np.exp(random.uniform(-4, 2))))
        source = float(np.float32(np.exp(random.uniform(-4, 1))))
        # The real value of a bias in results is an odd number of halves, give or take one step.
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
    """A file with one operator, and all 256 inputs for it."""
    g = Graph()
    first = g.activation("input", (1, 16, 16, 1), scales[0], zeros[0])
    result = g.activation("result", (1, 16, 16, 1), scales[1], zeros[1])
    if kind == "MEAN":
        g.mean(first, [3], result, keep_dims=True)
    else:
        g.operator(kind, "", {}, [first], result)
    return g.write(first, result), np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)


def by_factor(x, factor, zeros, low=-128):
    multiplier, shift = quantise_multiplier(factor)
    return requantise(
        x.astype(np.int64) - zeros[0], multiplier, max(shift, 0), max(-shift, 0), zero_point=zeros[1], low=low
    )


def telling_scales(random, count):
    """Scales (before, behind) and zero points for which a quotient in float32 gives other results than in double."""
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
    """A channel for each operand, taken apart by kernels that move values as they are."""
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


# Whole models


@needs_models
@pytest.mark.parametrize("name", ["resnet8_cifar10", "dscnn_kws", "autoencoder_ad"])
def test_real_models_equal_the_runtime(name):
    data = real_model(name)
    x = int8(np.random.default_rng(2), (24, *parse_tflite(data).input_shape))
    assert np.array_equal(ours(data, x), run(data, x))


@needs_models
@pytest.mark.parametrize("name", ["resnet8_cifar10", "dscnn_kws"])
def test_every_tensor_of_real_models_equals_the_runtime(name):
    data = real_model(name)
    x = int8(np.random.default_rng(3), (4, *parse_tflite(data).input_shape))
    network = parse_tflite(data).network
    tensors = network.tensors(x.reshape(len(x), -1))
    operators = results(data)[:-1]  # the last is the softmax, the model's own output
    assert len(tensors) == len(operators) - 1  # a reshape is no layer
    for position, tensor in enumerate(operators):
        expected = run(with_output(data, tensor), x)
        layer = min(position, len(operators) - 3) if position < len(operators) - 1 else len(tensors) - 1
        assert np.array_equal(tensors[layer].reshape(expected.shape), expected), position
        # The same file read up to that tensor.
        assert np.array_equal(ours(with_output(data, tensor), x), expected), position


@needs_models
@needs_data
def test_keyword_spotting_is_as_accurate_as_in_the_runtime():
    data = real_model("dscnn_kws")
    with np.load(Path(DATA) / "kws_features_200.npz") as file:
        x, y = file["x"], file["y"]
    scores, expected = ours(data, x), run(data, x)
    assert np.array_equal(scores, expected)
    assert (scores.argmax(axis=1) == y).mean() == (expected.argmax(axis=1) == y).mean() > 0.85


@needs_models
@pytest.mark.parametrize(("weight_rows", "most"), [(1, 17_500), (16, 2_500)])
def test_the_autoencoder_on_the_machine_equals_the_runtime(weight_rows, most):
    data = real_model("autoencoder_ad")
    model, x = parse_tflite(data), int8(np.random.default_rng(2), (20, 640))
    accelerator = Accelerator(Config(weight_rows=weight_rows, activation_words=8192), engine="exact")
    accelerator.load(model.network)
    assert np.array_equal(model.finish(accelerator.run(model.prepare(x))), run(data, x))
    alone = Accelerator(Config(weight_rows=weight_rows)).load(model.network).counts()
    assert alone[Counter.CYCLES] <= most


def rewritten(data, bias_of):
    """The chain of fully connected layers in `data` once more, each with the bias that `bias_of` gives.

    `bias_of` gets the layer's index, weights, real factors per channel, zero points in and out, and activation.
    """
    model = tflite.Model.GetRootAs(data, 0)
    old, new = model.Subgraphs(0), Graph()

    def ends(index):
        q = old.Tensors(index).Quantization()
        return q.Scale(0), int(q.ZeroPoint(0))

    first = at = new.activation("input", (1, 640), *ends(old.Operators(0).Inputs(0)))
    for index in range(old.OperatorsLength()):
        operator = old.Operators(index)
        options = tflite.FullyConnectedOptions()
        options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        tensor = old.Tensors(operator.Inputs(1))
        weights = model.Buffers(tensor.Buffer()).DataAsNumpy().view(np.int8).reshape(tensor.ShapeAsNumpy())
        scales = tensor.Quantization().ScaleAsNumpy()
        (scale_in, zero_in), (scale_out, zero_out) = ends(operator.Inputs(0)), ends(operator.Outputs(0))
        factors = scale_in * scales.astype(np.float64) / scale_out
        activation = options.FusedActivationFunction()
        bias = bias_of(index, weights, np.broadcast_to(factors, len(weights)), zero_in, zero_out, activation)
        result = new.activation(f"layer {index}", (1, len(weights)), scale_out, zero_out)
        at = new.fully_connected(at, weights, scales, bias, result, activation=activation)
    return new.write(first, at)


@needs_models
def test_the_autoencoder_with_biases_at_ties_equals_the_runtime():
    """Each layer's biases put its sums for one input on a tie, or one step beside it."""
    data = (Path(MODELS) / "autoencoder_ad_int8.tflite").read_bytes()
    random = np.random.default_rng(4)
    x = int8(random, (1, 640))
    at = [x.astype(np.int64)[0]]

    def bias_of(index, weights, factors, zero_in, zero_out, activation):
        sums = weights.astype(np.int64) @ (at[0] - zero_in)
        low = zero_out if activation == tflite.ActivationFunctionType.RELU else -128
        results = random.integers(low, 127, len(weights))
        tie = np.rint((results - zero_out + 0.5) / factors).astype(np.int64) + random.integers(-1, 2, len(weights))
        # Roughly: what the next layer sees is only used to place its own ties.
        at[0] = np.clip(np.rint(tie * factors).astype(np.int64) + zero_out, low, 127)
        return np.clip(tie - sums, -(1 << 31), (1 << 31) - 1).astype(np.int32)

    variant = rewritten(data, bias_of)
    inputs = np.concatenate([x, int8(random, (5, 640))])
    assert np.array_equal(ours(variant, inputs), run(variant, inputs))


def test_the_demonstration_network_through_a_file():
    """The network that comes with the package, written as TensorFlow Lite, gives the same scores."""
    network = fashion.network()
    data = to_tflite(network)
    x = fashion.quantise_image(fashion.held_out().images[:50]).reshape(50, 28, 28, 1)
    got = ours(data, x)
    assert np.array_equal(got, run(data, x))
    assert np.array_equal(got.argmax(axis=1), network.reference(x).argmax(axis=1))


# What is no layer


def test_a_reshape_in_front_of_a_fully_connected_layer_is_no_layer():
    random, g = np.random.default_rng(1), Graph()
    first = g.activation("input", (1, 3, 4), 0.1, 7)
    flat = g.reshape(first, (1, 12))
    result = g.activation("result", (1, 5), 2.0, -1)
    g.fully_connected(flat, int8(random, (5, 12)), [0.05], None, result)
    data = g.write(first, result)
    x = int8(random, (4, 3, 4))
    model = parse_tflite(data)
    assert model.input_shape == (3, 4)
    assert [type(layer) for layer in model.network.layers] == [Dense]
    assert model.names == ["result"]
    assert np.array_equal(ours(data, x), run(data, x))


def test_shapes_that_are_computed_from_the_batch_are_known():
    """What converters write for Flatten where the batch was left open."""
    random, g = np.random.default_rng(1), Graph()
    first = g.activation("input", (1, 2, 6, 3), 0.1, 7)
    image = g.pool_2d("max", first, g.like(first, (1, 1, 5, 3)), window=(2, 2))
    shape = g.operator("SHAPE", "ShapeOptions", {"OutType": INT32}, [image], g.tensor("shape", (4,), INT32))
    ends = [g.constant(np.array([n], np.int32)) for n in (0, 1, 1)]
    batch = g.tensor("batch", (), INT32)
    g.operator("STRIDED_SLICE", "StridedSliceOptions", {"ShrinkAxisMask": 1}, [shape, *ends], batch)
    values = g.tensor("values", (), INT32, data=np.array(15, np.int32))
    sizes = g.tensor("sizes", (2,), INT32)
    g.operator("PACK", "PackOptions", {"ValuesCount": 2, "Axis": 0}, [batch, values], sizes)
    flat = g.operator("RESHAPE", "", {}, [image, sizes], g.like(image, (1, 15)))
    result = g.activation("result", (1, 5), 2.0, -1)
    data = g.write(first, g.fully_connected(flat, int8(random, (5, 15)), [0.05], None, result))
    assert [type(layer) for layer in parse_tflite(data).network.layers] == [MaxPool, Dense]
    x = int8(random, (4, 2, 6, 3))
    assert np.array_equal(ours(data, x), run(data, x))


def test_a_reshape_that_two_operators_read_is_one_layer():
    random, g = np.random.default_rng(1), Graph()
    first = g.activation("input", (1, 2, 6, 3), 0.1, 7)
    wide = g.reshape(first, (1, 4, 3, 3))
    pooled = g.pool_2d("max", wide, g.like(wide, (1, 3, 2, 3)), window=(2, 2))
    again = g.pool_2d("max", wide, g.like(wide, (1, 3, 2, 3)), window=(2, 2))
    result = g.add(pooled, again, g.activation("sum", (1, 3, 2, 3), 0.2, 0))
    back = g.reshape(result, (1, 18))
    data = g.write(first, back)
    model, x = parse_tflite(data), int8(random, (4, 2, 6, 3))
    assert sum(isinstance(layer, Reshape) for layer in model.network.layers) == 1
    assert (len(model.names), model.output_shape) == (len(model.network.layers), (18,))
    assert np.array_equal(ours(data, x), run(data, x))


def test_branches_that_the_output_does_not_need_are_left_out():
    g = Graph()
    first = g.activation("input", (1, 4, 4, 2), 0.1, 7)
    kept = g.pool_2d("max", first, g.like(first, (1, 2, 2, 2)), window=(3, 3))
    g.pool_2d("average", kept, g.like(first, (1, 1, 1, 2)), window=(2, 2))
    data = g.write(first, kept)
    assert [type(layer) for layer in parse_tflite(data).network.layers] == [MaxPool]


def test_float_inputs_may_be_reshaped_before_they_are_quantised():
    random, g = np.random.default_rng(1), Graph()
    real = g.tensor("real", (1, 12), tflite.TensorType.FLOAT32)
    image = g.reshape(real, (1, 2, 3, 2))
    first = g.operator("QUANTIZE", "", {}, [image], g.activation("quantised", (1, 2, 3, 2), 0.1, 7))
    pooled = g.pool_2d("average", first, g.like(first, (1, 1, 2, 2)), window=(2, 2))
    out = g.tensor("out", (1, 1, 2, 2), tflite.TensorType.FLOAT32)
    flat = g.reshape(g.operator("DEQUANTIZE", "", {}, [pooled], out), (1, 4))
    data, x = g.write(real, flat), random.normal(size=(9, 12)).astype(np.float32)
    assert (parse_tflite(data).input_shape, parse_tflite(data).output_shape) == ((12,), (4,))
    assert np.array_equal(ours(data, x), run(data, x))


# The host's part


def test_float_inputs_next_to_ties_equal_the_runtime():
    g = Graph()
    real = g.tensor("real", (1, 8), tflite.TensorType.FLOAT32)
    first = g.operator("QUANTIZE", "", {}, [real], g.activation("quantised", (1, 8), 1.0, 7))
    data = g.write(real, g.operator("QUANTIZE", "", {}, [first], g.activation("moved", (1, 8), 1.0, 0)))
    halves = np.array([0.5, -0.5, 2.5, -127.5], np.float32)
    x = np.concatenate([np.nextafter(halves, np.float32(0)), np.nextafter(halves, np.float32(1000) * halves)])[None]
    x = np.concatenate([x, np.tile(halves, 2)[None], np.array([[1e6, -1e6, 0, 120.5, 120.49999, 1e-30, -1e-30, -0.0]])])
    x = x.astype(np.float32)
    assert np.array_equal(ours(data, x), run(data, x))


@pytest.mark.parametrize("shape", [(9,), (3, 9), (2, 4, 5)])
@pytest.mark.parametrize("number", [np.int32, np.int64])
def test_softmax_and_arg_max_go_along_the_last_axis(shape, number):
    g, random = Graph(), np.random.default_rng(5)
    first = g.activation("input", (1, *shape), 0.1, 0)
    scores = g.operator("QUANTIZE", "", {}, [first], g.activation("scores", (1, *shape), 0.2, 3))
    scores = g.softmax(scores, (1, *shape))
    x = int8(random, (20, *shape))
    assert np.array_equal(ours(g.write(first, scores), x), run(g.write(first, scores), x))
    kind = {np.int32: tflite.TensorType.INT32, np.int64: tflite.TensorType.INT64}[number]
    result = g.tensor("answer", (1, *shape[:-1]), kind)
    g.simple(tflite.BuiltinOperator.ARG_MAX, scores, result, constant=np.array([len(shape)], np.int32))
    data = g.write(first, result)
    got = ours(data, x)
    if number is np.int32:  # the runtime has no other
        assert np.array_equal(got, run(data, x))
    assert (got.dtype, got.shape) == (number, (20, *shape[:-1]))


def test_inputs_are_checked():
    data, terms = random_model(np.random.default_rng(3))
    model = parse_tflite(data)
    with pytest.raises(ModelError, match=rf"inputs must have shape \(N, {terms}\), not \(2, {terms + 1}\)"):
        model.prepare(np.zeros((2, terms + 1), np.int8))
    with pytest.raises(ModelError, match=r"inputs must be int8 \(already quantised\) or float, not int64"):
        model.prepare(np.zeros((2, terms), np.int64))
    with pytest.raises(ModelError, match="float inputs must be finite"):
        model.prepare(np.full((2, terms), np.nan))
    assert model.prepare(np.zeros(terms, np.int8)).shape == (1, terms)


def test_float_inputs_are_quantised_to_nearest_ties_away():
    quantisation = Quantisation(0.5, 3)
    assert quantisation.quantise(np.array([0, 0.25, -0.25, 0.24, 1e9, -1e9])).tolist() == [3, 4, 2, 3, 127, -128]
    assert quantisation.dequantise(np.array([3, 4], np.int8)).tolist() == [0.0, 0.5]
