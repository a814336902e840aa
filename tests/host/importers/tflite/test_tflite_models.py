"""Whole TensorFlow Lite models against TensorFlow Lite Micro: layers, shapes, and steps on the host."""

from pathlib import Path

import numpy as np
import pytest
from support.needs import DATA, MODELS, needs_data, needs_models
from support.strategies import int8

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.data import fashion
from etchnet.host.driver.driver import Accelerator
from etchnet.host.network.layers import Dense, MaxPool, Reshape
from etchnet.host.network.model import ModelError, Quantisation

pytest.importorskip("tflite", reason="the package tflite is not installed")
import tflite
from support.model_strategies import random_chain
from support.tflm import results, run, with_output

from etchnet.host.exporters.flatbuffer import Graph
from etchnet.host.exporters.tflite import to_tflite
from etchnet.host.importers.tflite.importer import parse_tflite

INT32 = tflite.TensorType.INT32


def ours(data, x):
    model = parse_tflite(data)
    return model.finish(model.network.reference(model.prepare(x)))


def real_model(name):
    return (Path(MODELS) / f"{name}_int8.tflite").read_bytes()


@needs_models
@pytest.mark.parametrize("name", ["resnet8_cifar10", "dscnn_kws", "autoencoder_ad"])
def test_real_models_equal_the_runtime(name):
    data = real_model(name)
    x = int8(np.random.default_rng(2), (24, *parse_tflite(data).inputs[0].shape))
    assert np.array_equal(ours(data, x), run(data, x))


@needs_models
@pytest.mark.parametrize("name", ["resnet8_cifar10", "dscnn_kws"])
def test_every_tensor_of_real_models_equals_the_runtime(name):
    data = real_model(name)
    x = int8(np.random.default_rng(3), (4, *parse_tflite(data).inputs[0].shape))
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
    """Return the chain of fully connected layers in `data` again, each with the bias that `bias_of` returns.

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
    """Each layer's biases put its sums for one input on a tie, or one step from it."""
    data = (Path(MODELS) / "autoencoder_ad_int8.tflite").read_bytes()
    random = np.random.default_rng(4)
    x = int8(random, (1, 640))
    at = [x.astype(np.int64)[0]]

    def bias_of(index, weights, factors, zero_in, zero_out, activation):
        sums = weights.astype(np.int64) @ (at[0] - zero_in)
        low = zero_out if activation == tflite.ActivationFunctionType.RELU else -128
        results = random.integers(low, 127, len(weights))
        tie = np.rint((results - zero_out + 0.5) / factors).astype(np.int64) + random.integers(-1, 2, len(weights))
        # An approximation: the next layer's inputs serve only to place its own ties.
        at[0] = np.clip(np.rint(tie * factors).astype(np.int64) + zero_out, low, 127)
        return np.clip(tie - sums, -(1 << 31), (1 << 31) - 1).astype(np.int32)

    variant = rewritten(data, bias_of)
    inputs = np.concatenate([x, int8(random, (5, 640))])
    assert np.array_equal(ours(variant, inputs), run(variant, inputs))


def test_the_demonstration_network_through_a_file():
    """The demonstration network, written as a TensorFlow Lite file, gives the same scores."""
    network = fashion.network()
    data = to_tflite(network)
    x = fashion.quantise_image(fashion.held_out().images[:50]).reshape(50, 28, 28, 1)
    got = ours(data, x)
    assert np.array_equal(got, run(data, x))
    assert np.array_equal(got.argmax(axis=1), network.reference(x).argmax(axis=1))


@pytest.mark.parametrize("field", ["BuiltinCode", "DeprecatedBuiltinCode"])
def test_an_operator_code_may_be_in_either_field_alone(monkeypatch, field):
    def write_code(b, code):
        tflite.OperatorCodeStart(b)
        getattr(tflite, f"OperatorCodeAdd{field}")(b, code)
        return int(tflite.OperatorCodeEnd(b))

    monkeypatch.setattr("etchnet.host.exporters.flatbuffer._write_code", write_code)
    data, terms = random_chain(np.random.default_rng(6), softmax=True)
    x = int8(np.random.default_rng(7), (4, terms))
    assert np.array_equal(ours(data, x), run(data, x))


# Operators that become no layer


def test_a_reshape_before_a_fully_connected_layer_is_no_layer():
    random, g = np.random.default_rng(1), Graph()
    first = g.activation("input", (1, 3, 4), 0.1, 7)
    flat = g.reshape(first, (1, 12))
    result = g.activation("result", (1, 5), 2.0, -1)
    g.fully_connected(flat, int8(random, (5, 12)), [0.05], None, result)
    data = g.write(first, result)
    x = int8(random, (4, 3, 4))
    model = parse_tflite(data)
    assert model.inputs[0].shape == (3, 4)
    assert [type(layer) for layer in model.network.layers] == [Dense]
    assert model.names == ["result"]
    assert np.array_equal(ours(data, x), run(data, x))


def test_shapes_that_are_computed_from_the_batch_are_known():
    """Converters write such shapes for Flatten if the batch is not fixed."""
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
    wide = g.reshape(g.pool_2d("max", first, g.like(first), window=(1, 1)), (1, 4, 3, 3))
    pooled = g.pool_2d("max", wide, g.like(wide, (1, 3, 2, 3)), window=(2, 2))
    again = g.pool_2d("max", wide, g.like(wide, (1, 3, 2, 3)), window=(2, 2))
    result = g.add(pooled, again, g.activation("sum", (1, 3, 2, 3), 0.2, 0))
    back = g.reshape(result, (1, 18))
    data = g.write(first, back)
    model, x = parse_tflite(data), int8(random, (4, 2, 6, 3))
    assert sum(isinstance(layer, Reshape) for layer in model.network.layers) == 1
    assert (len(model.names), model.outputs[0].shape) == (len(model.network.layers), (18,))
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
    assert (parse_tflite(data).inputs[0].shape, parse_tflite(data).outputs[0].shape) == ((12,), (4,))
    assert np.array_equal(ours(data, x), run(data, x))


# Steps on the host


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
def test_softmax_and_arg_max_work_along_the_last_axis(shape, number):
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
    data, terms = random_chain(np.random.default_rng(3))
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
