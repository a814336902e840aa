"""The rounding contracts in numpy, by name: how the output stage of a machine turns accumulators into results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.contracts import CONTRACTS, ONNX_FLOAT, TFLITE_DOUBLE, TFLITE_SINGLE
from etchnet.sim.arithmetic.reference import quantise_multiplier, scale_double

__all__ = [
    "FORMULAS",
    "Contract",
    "contract_of",
    "float_scale",
    "quantise_float",
    "quantise_single",
    "scale_float",
    "scale_single",
]

_INT32 = (-(1 << 31), (1 << 31) - 1)
_FLOAT_SPARE = 7
"""bits of a multiplier below the 24 of a float32 significand"""


def scale_single(
    values: np.ndarray, multiplier: np.ndarray | int, left: np.ndarray | int, right: np.ndarray | int
) -> np.ndarray:
    """Return ``(v * m + 2**(30 - left + right)) >> (31 - left + right)``, saturated to int32; as int64.

    This is TensorFlow Lite's MultiplyByQuantizedMultiplier built with single rounding: to nearest, ties upwards. The
    two shifts combine into one, right - left, and nothing wraps. With left = 31 and right = 0 nothing is rounded: the
    result is the product. TensorFlow Lite has no such shift, and `quantise_single` never returns it.

    Parameters
    ----------
    values
        int32 accumulators, bias included.
    multiplier, left, right
        In [0, 2**31), [0, 31] and [0, 31].
    """
    product = np.asarray(values, dtype=np.int64) * np.asarray(multiplier, dtype=np.int64)
    total = 31 - np.asarray(left, dtype=np.int64) + np.asarray(right, dtype=np.int64)
    # At most 2**62 + 2**61: int64 is wide enough.
    half = np.where(total > 0, np.int64(1) << np.maximum(total - 1, 0), 0)
    return np.clip((product + half) >> total, *_INT32)


def quantise_single(scale: float) -> tuple[int, int]:
    """Return a real factor as (multiplier, shift) for `tflite-single`: `quantise_multiplier`, with a shift up to 30.

    TensorFlow Lite's QuantizeMultiplier replaces a larger factor by the largest one below 2**30. This function raises
    an error instead.

    Raises
    ------
    ValueError
        `scale` is negative, not finite, or rounds to 2**30 or more.
    """
    multiplier, shift = quantise_multiplier(scale)
    if shift > 30:
        raise ValueError(f"a scale of the contract {TFLITE_SINGLE} must be below 2**30, not {scale!r}")
    return multiplier, shift


def scale_float(
    values: np.ndarray, multiplier: np.ndarray | int, left: np.ndarray | int, right: np.ndarray | int
) -> np.ndarray:
    """Return ``rint(fl32(fl32(v) * g))``, saturated to int32, with ``g = m * 2**(left - right - 31)``; as int64.

    This is ONNX Runtime's requantisation: both conversions to float32 and the one to an integer round to nearest, ties
    to even. The significand of g is bits 7 to 30 of the multiplier; bits 0 to 6 are ignored. If bit 30 is clear, so
    that there is no normalised significand, g is 0.

    Parameters
    ----------
    values
        int32 accumulators, bias included.
    multiplier, left, right
        In [0, 2**31), [0, 31] and [0, 31].
    """
    multiplier = np.asarray(multiplier, dtype=np.int64)
    significand = np.where(multiplier >> 30 & 1, multiplier >> _FLOAT_SPARE, 0).astype(np.float32)
    exponent = np.asarray(left, dtype=np.int64) - np.asarray(right, dtype=np.int64) - (31 - _FLOAT_SPARE)
    # Every nonzero g is between 2**-32 and 2**31, and every product between 2**-32 and 2**62: nothing is subnormal.
    g = np.ldexp(significand, exponent.astype(np.int32))
    product = np.asarray(values, dtype=np.int64).astype(np.float32) * g
    return np.clip(np.rint(product).astype(np.int64), *_INT32)


def float_scale(input_scale: Any, weight_scale: Any, output_scale: Any) -> np.ndarray:
    """Return ``fl32(fl32(input_scale * weight_scale) / output_scale)``, the factor g of ONNX Runtime's int8 operators.

    Scales are float32; arrays broadcast. Rounding the exact quotient once would give a different factor.
    """
    scales = [np.asarray(scale, dtype=np.float32) for scale in (input_scale, weight_scale, output_scale)]
    # A result outside the range of float32 becomes infinite or 0, and is refused or encoded like any other factor.
    with np.errstate(all="ignore"):
        return scales[0] * scales[1] / scales[2]


def quantise_float(scale: float) -> tuple[int, int]:
    """Return a float32 as (multiplier, shift): scale = multiplier * 2**(shift - 31), multiplier in [2**30, 2**31) or 0.

    A `scale` that is not a float32 is first rounded to one, to nearest even. The multiplier is its 24-bit significand
    followed by 7 zeros. Both are 0 below 2**-32, where the product with any int32 rounds to 0.

    Raises
    ------
    ValueError
        `scale` is negative, not finite, 2**31 or more (a left shift the machine does not have), or subnormal as a
        float32 (some runtimes treat it as 0, others do not).
    """
    scale = float(scale)
    g = float(np.float32(scale)) if math.isfinite(scale) and abs(scale) < 2.0**31 else scale
    if not math.isfinite(g) or g < 0 or g >= 2.0**31:
        raise ValueError(f"a scale of the contract {ONNX_FLOAT} must be finite and in [0, 2**31), not {scale!r}")
    if scale > 0 and g < 2.0**-126:
        raise ValueError(f"a scale of the contract {ONNX_FLOAT} must not be subnormal (below 2**-126), not {scale!r}")
    fraction, shift = math.frexp(g)
    return (0, 0) if g == 0 or shift < -31 else (int(fraction * 2**31), shift)


@dataclass(frozen=True)
class Contract:
    """A rounding contract: accumulators v become ``clamp(scale(v, multiplier, left, right) + zero_point)``.

    Parameters
    ----------
    name
        One of `etchnet.hdl.isa.CONTRACTS`.
    scale
        Maps (values, multiplier, left, right) to int64 within int32, equal to the gateware for all values of the fields
        of `etchnet.hdl.isa.Parameters`. Arrays broadcast.
    quantise
        Encodes a real factor as (multiplier, shift), where left is max(shift, 0) and right is max(-shift, 0); raises
        ValueError for a factor that the contract cannot represent.
    spare_bits
        Low bits of the multiplier that must be 0.
    largest_shift
        The largest left - right.
    wraps
        Whether v * 2**left wraps to int32, so that the compiler has to check that it fits.
    """

    name: str
    scale: Callable[..., np.ndarray]
    quantise: Callable[[float], tuple[int, int]]
    spare_bits: int = 0
    largest_shift: int = 31
    wraps: bool = False

    def requantise(
        self,
        values: np.ndarray,
        multiplier: np.ndarray | int,
        left: np.ndarray | int,
        right: np.ndarray | int,
        *,
        zero_point: int = 0,
        low: int = -128,
        high: int = 127,
    ) -> np.ndarray:
        """Return ``clamp(scale(values, multiplier, left, right) + zero_point)`` as int64."""
        return np.clip(self.scale(values, multiplier, left, right) + zero_point, low, high)

    def check(self, multiplier: np.ndarray | int, shift: np.ndarray | int) -> None:
        """Refuse pairs that `quantise` cannot return: the runtime's formula is not defined for them.

        Raises
        ------
        ValueError
            A multiplier that the contract cannot represent, or a shift above `largest_shift`.
        """
        multiplier, shift = np.asarray(multiplier, dtype=np.int64), np.asarray(shift, dtype=np.int64)
        if (over := shift > self.largest_shift).any():
            raise ValueError(
                f"a shift of the contract {self.name} must be at most {self.largest_shift}, not {shift[over][0]}"
            )
        # With spare bits the others are a significand, whose leading bit is set.
        wrong = (multiplier & (1 << self.spare_bits) - 1 != 0) | (multiplier != 0) & (multiplier < 1 << 30)
        if self.spare_bits and wrong.any():
            raise ValueError(
                f"a multiplier of the contract {self.name} must be 0 or a multiple of {1 << self.spare_bits} "
                f"from 2**30 to 2**31 - {1 << self.spare_bits}, not {multiplier[wrong][0]}"
            )


FORMULAS = {
    c.name: c
    for c in (
        Contract(TFLITE_DOUBLE, scale_double, quantise_multiplier, wraps=True),
        Contract(TFLITE_SINGLE, scale_single, quantise_single, largest_shift=30),
        Contract(ONNX_FLOAT, scale_float, quantise_float, spare_bits=_FLOAT_SPARE),
    )
}
"""the formulas of every rounding contract"""


def contract_of(which: Config | str) -> Contract:
    """Return the contract of a machine, or the contract of a given name.

    Raises
    ------
    ValueError
        No contract has that name.
    """
    name = which.contract if isinstance(which, Config) else which
    if name not in FORMULAS:
        raise ValueError(f"contract must be one of {', '.join(CONTRACTS)}, not {name!r}")
    return FORMULAS[name]
