"""ONNX Runtime's contributed operators: formulas against the runtime."""

import numpy as np
import pytest
from hypothesis import given
from support.strategies import int8, randoms

from etchnet.sim.arithmetic import onnx_ops

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
from onnx import TensorProto, helper, numpy_helper
from support.onnx_runtime import same_formulas, session
from support.onnx_strategies import CONTRIBUTED, some_scales

ALL = np.arange(-128, 128)
A, B = (grid.ravel().astype(np.int8) for grid in np.meshgrid(ALL, ALL, indexing="ij"))


def runtime(kind, inputs, order, shape, domain=CONTRIBUTED, **attributes):
    """Return the result of one operator; inputs that are not int8 arrays are constants."""
    arrays = {name: value for name, value in inputs.items() if isinstance(value, np.ndarray) and value.ndim}
    constants = [numpy_helper.from_array(np.asarray(v), n) for n, v in inputs.items() if n not in arrays]
    graph = helper.make_graph(
        [helper.make_node(kind, order, ["y"], domain=domain, **attributes)],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.INT8, value.shape) for name, value in arrays.items()],
        [helper.make_tensor_value_info("y", TensorProto.INT8, shape)],
        constants,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIBUTED, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return session(model.SerializeToString()).run(None, arrays)[0]


def runtime_add(a, b, scales, zeros):
    names = ["a", "sa", "za", "b", "sb", "zb", "sc", "zc"]
    values = [a, scales[0], zeros[0], b, scales[1], zeros[1], scales[2], zeros[2]]
    typed = [
        np.int8(v) if n[0] == "z" else np.float32(v) if n[0] == "s" else v for n, v in zip(names, values, strict=True)
    ]
    return runtime("QLinearAdd", dict(zip(names, typed, strict=True)), names, a.shape)


@same_formulas
@pytest.mark.parametrize("kind", range(4))
def test_qlinear_add_on_all_pairs(kind):
    random = np.random.default_rng(kind)
    for _ in range(12):
        scales, zeros = some_scales(random, kind), tuple(int(z) for z in random.integers(-128, 128, 3))
        assert np.array_equal(onnx_ops.qlinear_add(A, B, scales, zeros), runtime_add(A, B, scales, zeros))


@same_formulas
def test_qlinear_add_of_single_values():
    random = np.random.default_rng(9)
    other = 0
    for _ in range(300):
        scales, zeros = some_scales(random, 3), tuple(int(z) for z in random.integers(-20, 20, 3))
        a, b = (random.integers(-60, 60, 1).astype(np.int8) for _ in range(2))
        got = runtime_add(a, b, scales, zeros)
        assert np.array_equal(onnx_ops.qlinear_add(a, b, scales, zeros, single=True), got)
        other += int((onnx_ops.qlinear_add(a, b, scales, zeros) != got).any())
    assert other, "the two orders must differ somewhere"


@given(randoms())
def test_fused_multiply_add_rounds_once(random):
    from fractions import Fraction

    a, b, c = (np.float32(random.normal() * 2.0 ** random.integers(-20, 20)) for _ in range(3))
    if random.random() < 0.5:
        c = np.float32(-a * b * (1 + random.integers(-2, 3) * 2.0**-24))
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    got = Fraction(float(onnx_ops.fused_multiply_add(a, b, c)))
    around = [np.nextafter(np.float32(got), np.float32(side)) for side in (-np.inf, np.inf)]
    assert all(abs(exact - got) <= abs(exact - Fraction(float(other))) for other in around)


def test_fused_multiply_add_next_to_a_tie():
    """Float64 would round the sum to a tie of float32, although the exact sum is no tie."""
    a, b, c = np.float32(1 + 2.0**-23), np.float32(2.0**-24), np.float32(1)
    # The product is just above half a step, and exact in float64: up. Half a step alone is a tie: down, to even.
    assert onnx_ops.fused_multiply_add(a, b, c) == np.float32(1 + 2.0**-23)
    assert onnx_ops.fused_multiply_add(np.float32(1), b, c) == c
    # 1 + 2**-24 + 2**-70: float64 loses the last term.
    tiny = np.float32(2.0**-35 * (1 + 2.0**-23))
    assert onnx_ops.fused_multiply_add(tiny, np.float32(2.0**-35), np.float32(1)) == c
    assert onnx_ops.fused_multiply_add(np.float32(1 + 2.0**-12), np.float32(1 + 2.0**-12), np.float32(2.0**-50)) == (
        np.float32(1 + 2.0**-11 + 2.0**-23)
    )


@same_formulas
@pytest.mark.parametrize("seed", range(6))
def test_quantisation_and_concatenation(seed):
    random = np.random.default_rng(seed)
    scales = some_scales(random, seed % 3)
    zeros = [int(z) for z in random.integers(-128, 128, 3)]
    x = ALL.astype(np.int8)[None]
    inputs = {"a": x, "b": x}
    for name, scale, zero in zip("abc", scales, zeros, strict=True):
        inputs |= {f"s{name}": np.float32(scale), f"z{name}": np.int8(zero)}
    got = runtime("QLinearConcat", inputs, ["sc", "zc", "a", "sa", "za", "b", "sb", "zb"], (1, 512), axis=1)
    parts = [
        onnx_ops.quantise_linear(onnx_ops.dequantise_linear(x, scales[i], zeros[i]), scales[2], zeros[2])
        for i in (0, 1)
    ]
    assert np.array_equal(got, np.concatenate(parts, axis=1))


@same_formulas
@pytest.mark.parametrize("seed", range(10))
def test_averages(seed):
    random = np.random.default_rng(seed)
    kernel, size = [int(n) for n in random.integers(1, 4, 2)], [int(n) for n in random.integers(4, 8, 2)]
    x = int8(random, (2, 9, *size))
    scale = np.float32(np.exp(random.uniform(-6, 0)))
    scales = scale, np.float32(scale * np.exp(random.uniform(-1, 1))) if seed % 2 else scale
    zeros = tuple(int(z) for z in random.integers(-128, 128, 2))
    inputs = {"x": x, "sx": scales[0], "zx": np.int8(zeros[0]), "sy": scales[1], "zy": np.int8(zeros[1])}
    order = ["x", "sx", "zx", "sy", "zy"]
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    taps = windows.reshape(*windows.shape[:4], -1)
    got = runtime("QLinearAveragePool", inputs, order, windows.shape[:4], kernel_shape=kernel)
    assert np.array_equal(got, onnx_ops.qlinear_average(taps, taps.shape[-1], scales, zeros))
    least, most = onnx_ops.average_bounds(taps.shape[-1], taps.shape[-1], scales, zeros)
    index = taps.sum(axis=-1, dtype=np.int64) + 128 * taps.shape[-1]
    assert (least[index] <= got).all()
    assert (got <= most[index]).all()
    got = runtime("QLinearGlobalAveragePool", inputs, order, (2, 9, 1, 1))[..., 0, 0]
    count = size[0] * size[1]
    factor = onnx_ops.global_average_scale(*scales, count)
    sums = x.sum(axis=(2, 3), dtype=np.int64) - count * zeros[0]
    assert np.array_equal(got, np.clip(np.rint(sums.astype(np.float32) * factor) + zeros[1], -128, 127))


@pytest.mark.parametrize("scale", [np.float32(0.1), np.float32(0.25), np.float32(1 / 3)])
def test_bounds_of_averages_are_reached(scale):
    """All 65,536 windows of two values are computed."""
    scales, zeros = (scale, scale), (3, -7)
    least, most = onnx_ops.average_bounds(2, 2, scales, zeros)
    result = onnx_ops.qlinear_average(np.stack([A, B], axis=-1), 2, scales, zeros)
    index = A.astype(np.int64) + B + 256
    for bound, fold, start in ((least, np.minimum, 127), (most, np.maximum, -128)):
        reached = np.full(511, start, np.int8)
        fold.at(reached, index, result)
        assert np.array_equal(reached, bound)
