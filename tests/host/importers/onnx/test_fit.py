"""The machine's integer arithmetic for float operators: equal to them on every operand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import randoms

from etchnet.host.importers.onnx import fit
from etchnet.host.importers.onnx.fit import CONTRACT, Fit, fit_add, fit_map
from etchnet.host.network.layers import Add, Scaling
from etchnet.sim.arithmetic import onnx_ops

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
from support.onnx_strategies import some_scales

ALL = np.arange(-128, 128)
A, B = (grid.ravel().astype(np.int8) for grid in np.meshgrid(ALL, ALL, indexing="ij"))


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_additions_that_are_equal_on_all_pairs(kind):
    random = np.random.default_rng(kind + 20)
    for _ in range(25):
        scales, zeros = some_scales(random, kind), tuple(int(z) for z in random.integers(-128, 128, 3))
        layer = fit_add(scales, zeros)
        assert isinstance(layer, Add), (scales, zeros)
        got = layer.reference(A, B, contract=CONTRACT)
        assert np.array_equal(got, onnx_ops.qlinear_add(A, B, scales, zeros))


@pytest.mark.parametrize("whole", list(itertools.product((1, 2, 3), (-3, 0, 4, 7))))
def test_additions_at_exact_ties(whole):
    """Ties of a sum without the zero point are rounded to even: an odd zero point turns even into odd."""
    scales = np.float32(0.25), np.float32(0.125 * whole[0]), np.float32(0.5)
    layer = fit_add(scales, (5, -9, whole[1]))
    assert layer is not None
    assert np.array_equal(
        layer.reference(A, B, contract=CONTRACT), onnx_ops.qlinear_add(A, B, scales, (5, -9, whole[1]))
    )


def test_an_addition_for_which_17_fractional_bits_alone_will_do():
    scales = np.float32([0.0567802973, 0.1037277356, 0.1649060249])
    layer = fit_add(tuple(scales), (110, -28, -54))
    assert layer is not None
    expected = onnx_ops.qlinear_add(A, B, tuple(scales), (110, -28, -54))
    assert np.array_equal(layer.reference(A, B, contract=CONTRACT), expected)


def test_additions_that_the_machine_does_not_have():
    assert fit_add((np.float32(0.01), np.float32(0.01), np.float32(0.06)), (3, 3, 5)) is None
    assert fit_add((np.float32(1e-9), np.float32(0.1), np.float32(0.1)), (0, 0, 0)) is None
    for scale in (16384, 60000, 1e9, 1e38):
        assert fit_add((np.float32(scale), np.float32(0.1), np.float32(0.1)), (0, 0, 0)) is None


# The first of the settings, in the order of the search, that is equal on all pairs has this many fractional bits; of
# some additions no other has.
@pytest.mark.parametrize(
    ("fraction", "scales", "zeros"),
    [
        (8, (510, 0.2, 0.1), (3, -7, 9)),
        (10, (205, 0.2, 0.1), (3, -7, 9)),
        (12, (0.247, 0.365, 0.001), (-5, 104, 9)),
        (13, (0.008, 0.998, 0.0037), (-76, -43, 27)),
        (14, (0.348, 0.115, 0.0032), (-46, 8, 12)),
        (15, (0.103, 0.003, 0.0013), (-49, 49, -105)),
        (16, (0.033, 0.03, 0.0017), (-44, 30, 104)),
        (17, (0.012, 0.034, 4.4719), (-63, -119, 57)),
        (18, (0.879627, 0.12380374, 1.9589952), (0, 65, -9)),
        (19, (0.186, 0.376, 24.2239), (-75, 20, 29)),
        (20, (0.147, 0.328, 79.478), (117, -27, -25)),
        (21, (0.029, 0.9, 81.8448), (-104, -123, -107)),
        (22, (0.451, 0.01, 7.4976), (-22, 17, -43)),
    ],
)
def test_additions_of_every_precision(fraction, scales, zeros):
    scales = tuple(map(np.float32, scales))
    layer = fit_add(scales, zeros)
    assert layer.result == Scaling.of(2.0**-fraction)
    assert np.array_equal(layer.reference(A, B, contract=CONTRACT), onnx_ops.qlinear_add(A, B, scales, zeros))


@pytest.mark.parametrize("scales", [(1 / 3, 1 / 7, 1), (0.2718281, 0.5772156, 1)])
def test_a_search_moves_zero_points_up_to_500_times(scales, monkeypatch):
    """They represent nearly the same reals; with thirds and sevenths, thousands do."""
    tried = []
    monkeypatch.setattr(fit, "_agree", lambda *given: tried.append(given[-1]) or np.zeros(len(given[-2]), bool))
    first, second, last = map(np.float32, scales)
    assert fit_add((first, second, last), (3, -5, 7)) is None
    steps = np.arange(-200, 201)
    moved = float(first) * steps[:, None] + float(second) * steps
    near = (np.abs(moved - np.rint(moved)) < 2.0**-14) & (np.abs(7 - np.rint(moved) + 0.5) <= 127.5)
    assert len(tried) == len(set(tried)) == 1 + min(500, near.sum() - 1)
    assert tried[0] == (3, -5, 7)
    for a, b, c in tried:
        assert near[203 - a, 195 - b]
        assert c == 7 - np.rint(moved[203 - a, 195 - b])


@settings(max_examples=40)
@given(randoms(), st.booleans())
def test_maps_that_are_equal_everywhere(random, clamped):
    scales = [np.float32(np.exp(random.uniform(-5, 0)))]
    scales.append(np.float32(scales[0] * np.exp(random.uniform(-1, 1))))
    zeros = [int(z) for z in random.integers(-127, 127, 2)]
    reals = onnx_ops.dequantise_linear(ALL, scales[0], zeros[0])
    target = onnx_ops.quantise_linear(np.maximum(reals, 0) if clamped else reals, scales[1], zeros[1])
    ratio = float(scales[0] / scales[1])
    limits = int(target.min()), int(target.max())
    found = fit_map(ALL, target, [(ratio, zeros[1] - ratio * zeros[0])], [zeros[1]], *limits)
    assert found is not None
    scaled = np.rint((found.weight * ALL + found.bias).astype(np.float32) * found.factor) + found.zero_point
    assert np.array_equal(np.clip(scaled, *limits), target)


def test_a_map_that_no_fit_gives():
    assert fit_map(ALL, np.where(ALL % 2, 1, 0).astype(np.int8), [(1.0, 0.0)], [0]) is None
    assert fit_map(ALL, ALL.astype(np.int8), [(1e-30, 0.0)], [0]) is None
    clamped = fit_map(ALL, np.clip(2 * ALL, -128, 127), [(2.0, 0.0)], [0])
    assert clamped.weight * float(clamped.factor) == 2
    natural = Fit(1, 0, np.float32(1), 0)
    assert fit_map(ALL, ALL.astype(np.int8), [(1.0, 0.0)], [0], first=natural) is natural
