"""Where a float graph is quantised, and how: pairs of QuantizeLinear and DequantizeLinear, weights and biases."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Pair:
    """A QuantizeLinear and a DequantizeLinear.

    `limits` puts a Clip of the quantised values between them; without `zero_input`, DequantizeLinear leaves out the
    zero point, where it is 0.
    """

    scale: np.float32
    zero: int = 0
    dtype: type = np.int8
    limits: tuple[int, int] | None = None
    zero_input: bool = True


@dataclass(frozen=True)
class Stored:
    """A quantised constant: values, one scale or one per index along `axis`, and how the file has it.

    `form`: "stored" is int8 and a DequantizeLinear, "pair" is float32 and both, "clip" has a Clip of int8 between.
    """

    values: np.ndarray
    scale: np.ndarray
    axis: int = 0
    form: str = "stored"
    zero: int = 0
    zero_input: bool = True


@dataclass
class Plan:
    """A quantisation of a `FloatGraph`.

    Attributes
    ----------
    pairs
        Pairs after a tensor, in order.
    edges
        More pairs before one reader: (number of the operator, position of the input).
    dedicated
        Readers with a pair of their own: the last of the tensor's, written again.
    quantised_inputs, quantised_outputs
        Inputs and outputs of the graph that are what their pair's QuantizeLinear gives.
    constants
        Quantised constants: (number of the operator, name); others stay float32.
    """

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    edges: dict[tuple[int, int], list[Pair]] = field(default_factory=dict)
    dedicated: set[tuple[int, int]] = field(default_factory=set)
    quantised_inputs: set[str] = field(default_factory=set)
    quantised_outputs: set[str] = field(default_factory=set)
    constants: dict[tuple[int, str], Stored] = field(default_factory=dict)


def asymmetric(low: float, high: float) -> tuple[np.float32, int]:
    """Scale and zero point whose int8 range is [low, high], with 0 in it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255) if high > low else np.float32(1)
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def symmetric(low: float, high: float) -> tuple[np.float32, int]:
    """Scale for zero point 0."""
    most = max(abs(low), abs(high))
    return np.float32(most / 127) if most else np.float32(1), 0


def hostile(random: np.random.Generator, scale: np.float32, zero: int) -> tuple[np.float32, int]:
    """Change a quantisation: a power of two, few bits, far off, near the smallest, another zero point."""
    kind = random.integers(7)
    if kind <= 1:
        scale = np.float32(2.0 ** np.round(np.log2(scale)))
    elif kind == 2:
        scale = np.float32(scale * float(random.choice([0.5, 2, 3, 6, 0.25, 1.5, 10])))
    elif kind == 3:
        scale = np.float32(scale * np.exp(random.uniform(-5, 5)))
    elif kind == 4:
        scale = np.float32(round(float(scale), 2) or 0.01)
    elif kind == 5 and random.random() < 0.3:
        scale = np.float32(10.0 ** random.uniform(-37.5, -20))
    if kind >= 5 or random.random() < 0.3:
        zero = int(random.choice([-128, 127, 0, 1, -1, int(random.integers(-128, 128))]))
    return max(scale, np.float32(2e-38)), zero


def near(random: np.random.Generator, pair: Pair) -> Pair:
    """Return a pair with other scale or zero point, or both."""
    scale, zero = pair.scale, pair.zero
    kind = random.integers(5)
    if kind in (0, 1):
        scale = np.float32(scale * np.exp(random.uniform(-0.5, 0.5)))
    if kind == 2:
        scale = np.float32(scale * float(random.choice([0.5, 2, 3, 1 + 2**-23, 1 - 2**-24])))
    if kind == 4:
        scale, zero = hostile(random, scale, zero)
    if kind in (1, 3):
        zero = int(zero + random.choice([-1, 1, 5, -20, 64]))
    limits = np.iinfo(pair.dtype)
    return Pair(scale, int(np.clip(zero, limits.min, limits.max)), pair.dtype)


def quantise_constant(values: np.ndarray, scale: np.ndarray, axis: int, *, low: int = -128) -> np.ndarray:
    """Return int8 values; scales of 0 give 0."""
    scale = np.asarray(scale, np.float64)
    if scale.ndim:
        scale = scale.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exact = np.nan_to_num(np.rint(values / scale), nan=0.0, posinf=127, neginf=-128)
    return np.clip(exact, low, 127).astype(np.int8)
