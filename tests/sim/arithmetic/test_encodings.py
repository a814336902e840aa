"""Real factors as multipliers and shifts, under every contract."""

import numpy as np
import pytest

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import CONTRACTS
from etchnet.sim.arithmetic.contracts import (
    contract_of,
    quantise_float,
    quantise_single,
)
from etchnet.sim.arithmetic.reference import quantise_multiplier, requantise


def test_every_contract_has_a_name_and_a_machine():
    for name in CONTRACTS:
        assert contract_of(name) is contract_of(Config(contract=name))
        assert contract_of(name).name == name
    with pytest.raises(ValueError, match="contract must be one of tflite-double, tflite-single, onnx-float, not 'tfl'"):
        contract_of("tfl")


def test_the_default_contract_is_requantise():
    values = np.arange(-9999, 9999, 13)
    c = contract_of(Config())
    assert np.array_equal(
        c.requantise(values, 3 << 29, 1, 6, zero_point=3), requantise(values, 3 << 29, 1, 6, zero_point=3)
    )
    assert c.quantise(0.003) == quantise_multiplier(0.003)


@pytest.mark.parametrize(
    ("g", "multiplier", "shift"),
    [
        (0.5, 1 << 30, 0),
        (1.0, 1 << 30, 1),
        (0.75, 3 << 29, 0),
        (np.float32(0.1), 0xCCCCCD << 7, -3),
        (0.1, 0xCCCCCD << 7, -3),  # rounded to a float32
        (1 - 2**-25, 1 << 30, 1),  # a tie, to even
        (1 - 2**-24, (1 << 31) - 128, 0),
        (0.0, 0, 0),
        (2.0**-32, 1 << 30, -31),
        (2.0**-33, 0, 0),
        (2.0**-126, 0, 0),
        (2.0**31 - 128, (1 << 31) - 128, 31),
    ],
)
def test_quantise_float(g, multiplier, shift):
    assert quantise_float(g) == (multiplier, shift)
    contract_of("onnx-float").check(multiplier, shift)


@pytest.mark.parametrize("g", [-1.0, float("nan"), float("inf"), -float("inf"), 2.0**31, 2.0**31 - 1, 1e300])
def test_quantise_float_refuses_shifts_that_the_machine_does_not_have(g):
    with pytest.raises(ValueError, match=r"onnx-float must be finite and in \[0, 2\*\*31\), not"):
        quantise_float(g)


@pytest.mark.parametrize("g", [2.0**-127, np.float32(1e-45), 1e-300])
def test_quantise_float_refuses_subnormals(g):
    with pytest.raises(ValueError, match="must not be subnormal"):
        quantise_float(g)


def test_quantise_single():
    assert quantise_single(0.003) == quantise_multiplier(0.003)
    assert quantise_single(2.0**30 - 1) == ((1 << 31) - 2, 30)
    with pytest.raises(ValueError, match=r"tflite-single must be below 2\*\*30, not 1073741824"):
        quantise_single(2.0**30)
    with pytest.raises(ValueError, match="must be finite"):
        quantise_single(-1.0)


@pytest.mark.parametrize(
    ("name", "multiplier", "shift", "message"),
    [
        ("tflite-single", 1, 31, "a shift of the contract tflite-single must be at most 30, not 31"),
        ("onnx-float", 1 << 29, 0, r"from 2\*\*30 to 2\*\*31 - 128, not 536870912"),
        ("onnx-float", [1 << 30, (1 << 30) + 1], 0, "must be 0 or a multiple of 128 from .*, not 1073741825"),
        ("onnx-float", 1 << 30, 32, "a shift of the contract onnx-float must be at most 31, not 32"),
    ],
)
def test_parameters_that_no_factor_gives_are_refused(name, multiplier, shift, message):
    with pytest.raises(ValueError, match=message):
        contract_of(name).check(multiplier, shift)
