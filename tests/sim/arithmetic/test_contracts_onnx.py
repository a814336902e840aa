"""The contract onnx-float against ONNX Runtime itself, with biases at ties and sums of up to 31 bits."""

import numpy as np
import pytest

from etchnet.sim.arithmetic.contracts import contract_of, float_scale

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")

ONNX_FLOAT = contract_of("onnx-float")


def requantise(sums, g, zero_point):
    """Requantise each channel's sums with its factor; return the channels side by side."""
    pairs = np.array([ONNX_FLOAT.quantise(v) for v in g])
    multiplier, shift = pairs.T
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    return ONNX_FLOAT.requantise(sums, multiplier, left, right, zero_point=zero_point).astype(np.int8)


def session(kind, constants, shapes):
    """Return a session of one node, whose first input is `x` and whose other inputs are constants, in order."""
    helper, int8 = onnx.helper, onnx.TensorProto.INT8
    node = helper.make_node(kind, ["x", *constants], ["y"])
    ends = [helper.make_tensor_value_info(name, int8, shape) for name, shape in zip("xy", shapes, strict=True)]
    initial = [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    model = helper.make_model(
        helper.make_graph([node], kind, ends[:1], ends[1:], initial),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def near_ties(random, g, channels):
    """Return, for each factor, an accumulator whose scaled value is next to k + 1/2 for an int8 k, clipped to int32."""
    half = random.integers(-140, 140, channels) + 0.5
    near = np.rint(half / g.astype(np.float64)) + random.integers(-2, 3, channels)
    return np.clip(near, -(2**31), 2**31 - 1).astype(np.int64)


@pytest.mark.parametrize("seed", range(12))
def test_convolution(seed):
    """QLinearConv of 1 x 1 with a factor per channel; the bias puts every channel's sum next to a tie."""
    random = np.random.default_rng(seed)
    channels, inputs, pixels = 1024, 4, 10
    x = random.integers(-128, 128, (1, inputs, 1, pixels)).astype(np.int8)
    w = random.integers(-128, 128, (channels, inputs, 1, 1)).astype(np.int8)
    # The factors range from those that bring 31-bit sums into int8 to those for sums of a few units.
    input_scale, output_scale = np.float32(random.uniform(0.001, 1)), np.float32(random.uniform(0.001, 1))
    real = np.exp2(random.uniform(-25, 2, channels))
    weight_scale = (real * output_scale / input_scale).astype(np.float32)
    if seed % 3 == 0:
        # With powers of two, products are exact, so every half is a true tie.
        input_scale = output_scale = np.float32(0.25)
        weight_scale = np.exp2(np.floor(np.log2(weight_scale))).astype(np.float32)
    g = float_scale(input_scale, weight_scale, output_scale)
    zero_in, zero_out = (int(v) for v in random.integers(-128, 128, 2))
    products = w[:, :, 0, 0].astype(np.int64) @ (x[0, :, 0].astype(np.int64) - zero_in)
    bias = near_ties(random, g, channels) - products[:, 0]
    bias[:8] = random.choice([2**31 - 1, -(2**31), 2**24, -(2**24), 2**25 + 1], 8)
    # The bias is added modulo 2**32.
    bias = bias.astype(np.int32)
    sums = (products + bias[:, None]).astype(np.int32)
    constants = {
        "x_scale": input_scale,
        "x_zero": np.int8(zero_in),
        "w": w,
        "w_scale": weight_scale,
        "w_zero": np.zeros(channels, np.int8),
        "y_scale": output_scale,
        "y_zero": np.int8(zero_out),
        "bias": bias,
    }
    got = session("QLinearConv", constants, [x.shape, (1, channels, 1, pixels)]).run(None, {"x": x})[0]
    assert np.array_equal(got[0, :, 0], requantise(sums.T, g, zero_out).T)
    inside = np.abs(got[0, :, 0, 0].astype(int)) < 127
    assert inside.mean() > 0.5, "most results must be decided by rounding, not by the clamp"


def columns_with_sums(targets, terms):
    """Return int8 weights (terms, channels) whose product with `[127, 127, ..., 127, 1]` is `targets`."""
    high = (targets + 63) // 127
    base, more = np.divmod(high, terms - 1)
    w = base + (np.arange(terms - 1)[:, None] < more)
    return np.concatenate([w, (targets - 127 * high)[None]]).astype(np.int8)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("per_channel", [False, True])
def test_matrix_product(seed, per_channel):
    """QLinearMatMul has no bias: the weights put the first row's sums, of up to 2**27, next to ties."""
    random = np.random.default_rng(seed)
    terms, channels, pixels = int(random.choice([50, 1000, 9000])), 512, 12
    input_scale, output_scale = np.float32(random.uniform(0.001, 1)), np.float32(random.uniform(0.001, 1))
    largest = np.log2(126.0 * 127 * (terms - 1))
    real = np.exp2(7.2 - random.uniform(8, largest, channels if per_channel else ()))
    weight_scale = np.asarray(real * output_scale / input_scale).astype(np.float32)
    if seed % 2:
        input_scale, output_scale = np.float32(0.5), np.float32(2)
        weight_scale = np.exp2(np.floor(np.log2(weight_scale))).astype(np.float32)
    g = np.broadcast_to(float_scale(input_scale, weight_scale, output_scale), channels)
    limit = 126 * 127 * (terms - 1)
    w = columns_with_sums(np.clip(near_ties(random, g, channels), -limit, limit), terms)
    x = random.integers(-128, 128, (pixels, terms)).astype(np.int8)
    x[0] = [*[127] * (terms - 1), 1]
    sums = x.astype(np.int64) @ w.astype(np.int64)
    zero_out = int(random.integers(-128, 128))
    constants = {
        "x_scale": input_scale,
        "x_zero": np.int8(0),
        "w": w,
        "w_scale": weight_scale,
        "w_zero": np.zeros(weight_scale.shape, np.int8),
        "y_scale": output_scale,
        "y_zero": np.int8(zero_out),
    }
    got = session("QLinearMatMul", constants, [x.shape, (pixels, channels)]).run(None, {"x": x})[0]
    assert np.array_equal(got, requantise(sums, g, zero_out))
