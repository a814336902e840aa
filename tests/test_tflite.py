"""Models from TensorFlow Lite files against TensorFlow Lite Micro, byte for byte; damaged files."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import int8, randoms

from etchnet.hdl.config import Config
from etchnet.hdl.isa import Counter
from etchnet.host import fashion
from etchnet.host.driver import Accelerator
from etchnet.host.model import ModelError, Quantisation

tflite = pytest.importorskip("tflite", reason="the package tflite is not installed")
from etchnet.host.tflite import load_tflite, parse_tflite  # noqa: E402
from etchnet.host.tflite_writer import Graph  # noqa: E402

MODELS = os.environ.get("ETCHNET_MODELS")
needs_models = pytest.mark.skipif(MODELS is None, reason="ETCHNET_MODELS does not name a folder of models")


@pytest.fixture(scope="module")
def runtime():
    module = pytest.importorskip(
        "tflite_micro.python.tflite_micro.runtime", reason="TensorFlow Lite Micro is not installed"
    )

    def run(data, x):
        interpreter = module.Interpreter.from_bytes(bytes(data))
        results = []
        for item in x:
            interpreter.set_input(item[None], 0)
            interpreter.invoke()
            results.append(interpreter.get_output(0)[0].copy())
        return np.array(results)

    return run


def ours(model, x, engine="exact", config=None, batch=1):
    accelerator = Accelerator(config or Config(activation_words=8192), engine=engine)
    accelerator.load(model.network, batch=batch)
    return model.finish(accelerator.run(model.prepare(x))), accelerator.counts


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


@settings(max_examples=150)
@given(randoms(), st.booleans(), st.booleans())
def test_random_models_equal_the_runtime(runtime, random, softmax, float_ends):
    data, terms = random_model(random, softmax=softmax, float_ends=float_ends)
    model = parse_tflite(data)
    x = int8(random, (8, terms))
    if float_ends:
        x = (x.astype(np.float32) * random.uniform(0.001, 3)).astype(np.float32)
    assert np.array_equal(ours(model, x)[0], runtime(data, x))


def test_biases_at_ties_equal_the_runtime(runtime):
    """Inputs at their zero point leave the biases alone, which lie where their products, or shifted products, are ties.

    So a multiplier made from another double, or another rounding, shows.
    """
    random = np.random.default_rng(0)
    for _ in range(20):
        channels = 256
        scales = np.exp(random.uniform(-8, -1, channels)).astype(np.float32)
        out = float(np.float32(np.exp(random.uniform(-4, 2))))
        source = float(np.float32(np.exp(random.uniform(-4, 1))))
        # The real value of a bias in results is an odd number of halves, give or take one step.
        factor = source * scales.astype(np.float64) / out
        bias = np.rint((random.integers(-120, 120, channels) + 0.5) / factor) + random.integers(-1, 2, channels)
        bias = np.clip(bias, -(1 << 31), (1 << 31) - 1).astype(np.int32)
        g = Graph()
        first = g.activation("input", (1, 2), source, 3)
        result = g.activation("result", (1, channels), out, -5)
        g.fully_connected(first, np.ones((channels, 2), np.int8), scales, bias, result)
        data = g.write(first, result)
        x = np.full((1, 2), 3, np.int8)
        assert np.array_equal(ours(parse_tflite(data), x)[0], runtime(data, x))


def test_reshape_and_odd_shapes_equal_the_runtime(runtime):
    random = np.random.default_rng(1)
    g = Graph()
    first = g.activation("input", (1, 3, 4), 0.1, 7)
    flat = g.activation("flat", (1, 12), 0.1, 7)
    g.simple(tflite.BuiltinOperator.RESHAPE, first, flat, constant=np.array([1, 12], np.int32))
    result = g.activation("result", (1, 5), 2.0, -1)
    g.fully_connected(flat, int8(random, (5, 12)), [0.05], None, result)
    data = g.write(first, result)
    x = int8(random, (4, 3, 4))
    model = parse_tflite(data)
    assert model.input_shape == (3, 4)
    assert np.array_equal(ours(model, x)[0], runtime(data, x))


@needs_models
@pytest.mark.parametrize(("weight_rows", "most"), [(1, 17_500), (16, 2_500)])
def test_the_autoencoder_equals_the_runtime(runtime, weight_rows, most):
    path = Path(MODELS) / "autoencoder_ad_int8.tflite"
    model = load_tflite(path)
    x = int8(np.random.default_rng(2), (20, 640))
    got, counts = ours(model, x, config=Config(weight_rows=weight_rows))
    assert np.array_equal(got, runtime(path.read_bytes(), x))
    alone = Accelerator(Config(weight_rows=weight_rows)).load(model.network).counts()
    assert alone[Counter.CYCLES] <= most
    assert counts.cycles <= 20 * most


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
def test_the_autoencoder_with_biases_at_ties_equals_the_runtime(runtime):
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
    assert np.array_equal(ours(parse_tflite(variant), inputs)[0], runtime(variant, inputs))


def test_the_demonstration_network_through_a_file(runtime):
    """The network that comes with the package, written as TensorFlow Lite, gives the same scores."""
    network, g, scale = fashion.network(), Graph(), 1.0
    first = at = g.activation("image", (1, 784), scale, -128)
    for index, layer in enumerate(network.layers):
        # Any scales with the right quotient will do; these are exact in float32 where multipliers have 24 bits.
        real = np.ldexp(layer.multiplier.astype(np.float64), layer.shift - 31).astype(np.float32)
        result = g.activation(f"layer{index}", (1, layer.weights.shape[1]), 1.0, layer.zero_point)
        at = g.fully_connected(at, layer.weights.T.copy(), real, layer.bias.astype(np.int32), result)
    data = g.write(first, at)
    model = parse_tflite(data)
    x = fashion.quantise_image(fashion.held_out().images[:50])
    got = ours(model, x)[0]
    assert np.array_equal(got, runtime(data, x))
    assert np.array_equal(got.argmax(axis=1), network.reference(x).argmax(axis=1))


@pytest.mark.parametrize("number", [np.int32, np.int64])
def test_arg_max_at_the_end(runtime, number):
    g, random = Graph(), np.random.default_rng(5)
    first = g.activation("input", (1, 6), 0.1, 0)
    scores = g.fully_connected(first, int8(random, (9, 6)), [0.1], None, g.activation("scores", (1, 9), 4.0, 0))
    kind = {np.int32: tflite.TensorType.INT32, np.int64: tflite.TensorType.INT64}[number]
    result = g.tensor("answer", (1,), kind)
    g.simple(tflite.BuiltinOperator.ARG_MAX, scores, result, constant=np.array([1], np.int32))
    data = g.write(first, result)
    model = parse_tflite(data)
    x = int8(random, (20, 6))
    got = ours(model, x)[0]
    if number is np.int32:  # the runtime has no other
        assert np.array_equal(got, runtime(data, x))
    assert (got.dtype, got.shape) == (number, (20,))
    assert np.array_equal(got, model.network.reference(x).argmax(axis=1))


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


def unsupported(change):
    g = Graph()
    parts = {
        "graph": g, "type": tflite.TensorType.INT8, "weights": np.ones((3, 4), np.int8), "scales": [0.1],
        "scale": 0.5, "activation": 0,
    }  # fmt: skip
    change(parts)
    first = g.tensor("input", (1, 4), parts["type"], [parts["scale"]], [0])
    result = g.activation("result", (1, 3), 0.5, 0)
    g.fully_connected(first, parts["weights"], parts["scales"], None, result, activation=parts["activation"])
    if "behind" in parts:
        result = parts["behind"](g, result)
    return g.write(first, result)


def tanh(g, source):
    return g.simple(tflite.BuiltinOperator.TANH, source, g.activation("tanh", (1, 3), 1 / 128, 0))


def other_source(g, source):
    g.operators[-1][3][0] = source
    return source


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(behind=tanh), r"TANH \(operator 1\) is not supported; supported are FULLY_CONNECTED, RESH"),
        (lambda p: p.update(activation=4), r"FULLY_CONNECTED \(operator 0\): activation TANH is not supported"),
        (lambda p: p.update(type=tflite.TensorType.UINT8), "the input must be int8 or float32, not uint8"),
        (lambda p: p.update(scale=-1.0), "the input must have a positive scale, not -1.0"),
        (lambda p: p.update(scales=[0.1, 0.2]), "weights must have 1 or 3 scales, along axis 0"),
        (lambda p: p.update(scales=[float("inf")]), "a requantisation scale must be finite"),
        (
            lambda p: p.update(weights=np.ones((3, 5), np.int8)),
            r"weights take 5 values, but the input has shape \(1, 4\)",
        ),
        (
            lambda p: p.update(behind=other_source),
            "reads tensor 1, not the result of the operator before it: only chains",
        ),
        (lambda p: p.update(behind=lambda g, r: 0), "the output is tensor 0, but the last operator gives tensor 1"),
    ],
)
def test_what_is_not_supported_is_named(change, message):
    with pytest.raises(ModelError, match=message):
        parse_tflite(unsupported(change))


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 100, b"\x1c\0\0\0TFL3"])
def test_what_is_not_a_model_is_refused(data):
    with pytest.raises(ModelError, match=r"is not a TensorFlow Lite file|is damaged"):
        parse_tflite(data)


def damage(random, good):
    bad = bytearray(good)
    for _ in range(int(random.integers(1, 6))):
        kind, position = random.integers(3), int(random.integers(len(bad)))
        if kind == 0:
            bad[position] ^= 1 << int(random.integers(8))
        elif kind == 1:
            bad[position : position + 4] = int(random.choice([0, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000])).to_bytes(
                4, "little"
            )
        else:
            del bad[position:]
        if len(bad) < 8:
            break
    return bytes(bad)


@settings(max_examples=300)
@given(randoms())
def test_damaged_files_are_one_clear_error_or_a_model(random):
    good, _ = random_model(random, softmax=True)
    for _ in range(5):
        with contextlib.suppress(ModelError):
            assert parse_tflite(damage(random, good)).network.inputs >= 1
