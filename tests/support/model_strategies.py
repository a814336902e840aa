"""Random int8 networks as TensorFlow Lite files: every operator by itself, and small graphs of them.

`tflite_graphs` yields a file and some inputs for it. Its networks are small (images of at most 8 x 8 x 20), so that
whole machines can run it; scales, zero points and clamps are of every kind, and TensorFlow Lite Micro takes every file.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tflite
from hypothesis import strategies as st
from support.strategies import int8, randoms

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.exporters.flatbuffer import Graph

_ACTIVATIONS = [0, 0, 1, 2, 3]
_LARGEST_CHANNELS = 20


def _quantisation(random: np.random.Generator, scale: float) -> tuple[float, int]:
    """Return a scale near the given one, and any zero point; the extremes more often.

    Scales stay above 1e-6: the runtime has no clamps at 6 for much smaller ones.
    """
    zero = int(random.choice([-128, 0, 127, random.integers(-128, 128), random.integers(-128, 128)]))
    return float(np.float32(max(scale * np.exp(random.uniform(-1, 1)), 1e-6))), zero


def _result(g: Graph, random: np.random.Generator, shape: tuple[int, ...], scale: float) -> int:
    return g.activation(f"t{len(g.tensors)}", shape, *_quantisation(random, scale))


def _weights(random: np.random.Generator, shape: tuple[int, ...], axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and scales for all or for each index along an axis; one in ten multipliers is flushed to zero."""
    scales = np.exp(random.uniform(-8, -1, shape[axis] if random.random() < 0.6 else 1)).astype(np.float32)
    if len(scales) > 1 and random.random() < 0.3:
        scales[random.integers(len(scales))] = 1e-20
    return int8(random, shape), scales


def _bias(random: np.random.Generator, channels: int) -> np.ndarray | None:
    if random.random() < 0.2:
        return None
    return random.integers(-(1 << 14), 1 << 14, channels).astype(np.int32)


def _spread(random: np.random.Generator, source: float, scales: np.ndarray, terms: int) -> float:
    """Return a scale for results: some fill int8, some saturate, some need left shifts."""
    return source * float(np.median(scales)) * float(np.exp(random.uniform(-2, 5))) * terms**0.5


def _sliding(draw: st.DrawFn, size: tuple[int, int], largest: int, dilations: int) -> dict:
    """Kernel, stride, dilation and padding mode that fit an image, and the size of the result."""
    kernel = tuple(draw(st.integers(1, largest)) for _ in size)
    stride = tuple(draw(st.integers(1, 3)) for _ in size)
    dilation = tuple(draw(st.integers(1, dilations)) for _ in size)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    same = draw(st.booleans()) or any(span > n for span, n in zip(spans, size, strict=True))
    out = [ceil_div(n, s) if same else (n - span) // s + 1 for n, span, s in zip(size, spans, stride, strict=True)]
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "same": same, "out": tuple(out)}


def conv(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    shape = g.tensors[source].shape
    if len(shape) != 4:
        return None
    s = _sliding(draw, shape[1:3], 4, 2)
    channels = draw(st.integers(1, _LARGEST_CHANNELS))
    weights, scales = _weights(random, (channels, *s["kernel"], shape[3]), 0)
    scale = _spread(random, g.tensors[source].scales[0], scales, weights[0].size)
    return g.conv_2d(
        source,
        weights,
        scales,
        _bias(random, channels),
        _result(g, random, (shape[0], *s["out"], channels), scale),
        stride=s["stride"],
        dilation=s["dilation"],
        same=s["same"],
        activation=draw(st.sampled_from(_ACTIVATIONS)),
    )


def depthwise(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    shape = g.tensors[source].shape
    if len(shape) != 4:
        return None
    s = _sliding(draw, shape[1:3], 4, 2)
    multiplier = draw(st.integers(1, max(1, min(3, _LARGEST_CHANNELS // shape[3]))))
    channels = shape[3] * multiplier
    weights, scales = _weights(random, (1, *s["kernel"], channels), 3)
    scale = _spread(random, g.tensors[source].scales[0], scales, weights[..., 0].size)
    return g.depthwise_conv_2d(
        source,
        weights,
        scales,
        _bias(random, channels),
        _result(g, random, (shape[0], *s["out"], channels), scale),
        multiplier=multiplier,
        stride=s["stride"],
        dilation=s["dilation"],
        same=s["same"],
        activation=draw(st.sampled_from(_ACTIVATIONS)),
    )


def fully_connected(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    shape = g.tensors[source].shape
    channels, terms = draw(st.integers(1, _LARGEST_CHANNELS)), int(np.prod(shape[1:]))
    weights, scales = _weights(random, (channels, terms), 0)
    scale = _spread(random, g.tensors[source].scales[0], scales, terms)
    keep = len(shape) > 2 and all(n == 1 for n in shape[1:-1]) and draw(st.booleans())
    result = _result(g, random, (*shape[:-1], channels) if keep else (shape[0], channels), scale)
    return g.fully_connected(
        source,
        weights,
        scales,
        _bias(random, channels),
        result,
        activation=draw(st.sampled_from(_ACTIVATIONS)),
        keep_num_dims=keep,
    )


def _pool(kind: str, draw: st.DrawFn, g: Graph, source: int) -> int | None:
    shape = g.tensors[source].shape
    if len(shape) != 4:
        return None
    s = _sliding(draw, shape[1:3], 4, 1)
    if draw(st.integers(0, 3)) == 0:  # the whole image
        s |= {"kernel": shape[1:3], "same": False, "out": (1, 1)}
    return g.pool_2d(
        kind,
        source,
        g.like(source, (shape[0], *s["out"], shape[3])),
        window=s["kernel"],
        stride=s["stride"],
        same=s["same"],
        activation=draw(st.sampled_from(_ACTIVATIONS)),
    )


def average_pool(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    return _pool("average", draw, g, source)


def max_pool(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    return _pool("max", draw, g, source)


def mean(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    shape = g.tensors[source].shape
    if len(shape) > 4 or len(shape) < 3:
        return None
    axes = draw(st.lists(st.integers(1, len(shape) - 1), min_size=1, max_size=len(shape) - 2, unique=True))
    keep = draw(st.booleans())
    left = [(n, 1)[axis in axes] for axis, n in enumerate(shape) if keep or axis not in axes]
    same = draw(st.booleans())
    scale = g.tensors[source].scales[0]
    result = g.like(source, tuple(left)) if same else _result(g, random, tuple(left), scale)
    signed = [axis - len(shape) if draw(st.booleans()) else axis for axis in axes]
    return g.mean(source, signed, result, keep_dims=keep)


def reduce_max(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    shape = g.tensors[source].shape
    if len(shape) > 4 or len(shape) < 3:
        return None
    axes = draw(st.lists(st.integers(1, len(shape) - 2), min_size=1, max_size=len(shape) - 2, unique=True))
    keep = draw(st.booleans())
    left = tuple((n, 1)[axis in axes] for axis, n in enumerate(shape) if keep or axis not in axes)
    signed = [axis - len(shape) if draw(st.booleans()) else axis for axis in axes]
    inputs = [source, g.constant(np.array(signed, np.int32))]
    return g.operator("REDUCE_MAX", "ReducerOptions", {"KeepDims": keep}, inputs, g.like(source, left))


def add(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    """With any tensor of the same shape: the same one, an earlier one, or the source requantised."""
    others = [i for i in _activations(g) if g.tensors[i].shape == g.tensors[source].shape]
    other = draw(st.sampled_from(others))
    pair = [source, other] if draw(st.booleans()) else [other, source]
    scale = 2 * max(g.tensors[i].scales[0] for i in pair)
    result = _result(g, random, g.tensors[source].shape, scale * float(np.exp(random.uniform(-2, 1))))
    return g.add(*pair, result, activation=draw(st.sampled_from(_ACTIVATIONS)))


def concatenation(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    """With any tensors that fit along some axis, brought to the source's scale and zero point."""
    t = g.tensors[source]
    axis = draw(st.integers(1, len(t.shape) - 1))
    limit = _LARGEST_CHANNELS if axis == len(t.shape) - 1 else 8
    size, parts = t.shape[axis], [source]
    for _ in range(draw(st.integers(0, 2))):
        fits = [
            i
            for i in _activations(g)
            if len(g.tensors[i].shape) == len(t.shape)
            and all(a == b for k, (a, b) in enumerate(zip(g.tensors[i].shape, t.shape, strict=True)) if k != axis)
            and g.tensors[i].shape[axis] + size <= limit
        ]
        if not fits:
            break
        part = draw(st.sampled_from(fits))
        size += g.tensors[part].shape[axis]
        o = g.tensors[part]
        if (o.scales, o.zero_points) != (t.scales, t.zero_points):
            part = g.operator("QUANTIZE", "", {}, [part], g.like(source, o.shape))
        parts.insert(draw(st.integers(0, len(parts))), part)
    shape = (*t.shape[:axis], size, *t.shape[axis + 1 :])
    return g.concatenation(parts, axis - len(shape) if draw(st.booleans()) else axis, g.like(source, shape))


def pad(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    shape = g.tensors[source].shape
    limits = [0, *([8] * (len(shape) - 2)), _LARGEST_CHANNELS]
    paddings = []
    for n, limit in zip(shape, limits, strict=True):
        before = draw(st.integers(0, max(0, min(2, limit - n))))
        paddings.append((before, draw(st.integers(0, max(0, min(2, limit - n - before))))))
    result = g.like(source, tuple(n + sum(p) for n, p in zip(shape, paddings, strict=True)))
    return g.pad(source, paddings, result, value=draw(st.none() | st.integers(-128, 127)))


def reshape(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    shape = g.tensors[source].shape
    ones = [axis for axis in range(1, len(shape)) if shape[axis] == 1]
    if len(shape) > 2 and ones and draw(st.booleans()):
        return g.squeeze(source, [draw(st.sampled_from(ones))])
    if len(shape) < 4 and draw(st.booleans()):
        return g.expand_dims(source, draw(st.integers(1, len(shape))))
    values = int(np.prod(shape[1:]))
    divisors = [d for d in range(1, values + 1) if values % d == 0]
    rank = draw(st.integers(1, 3))
    sizes: list[int] = []
    for _ in range(rank - 1):
        sizes.append(draw(st.sampled_from([d for d in divisors if d <= 8 and values % d == 0])))
        values //= sizes[-1]
        divisors = [d for d in divisors if values % d == 0]
    return g.reshape(source, (shape[0], *sizes, values))


def relu(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    same, t = draw(st.booleans()), g.tensors[source]
    result = g.like(source) if same else _result(g, random, t.shape, t.scales[0])
    return g.operator("RELU", "", {}, [source], result)


def relu6(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    return g.operator("RELU6", "", {}, [source], g.like(source))


def quantise(draw: st.DrawFn, g: Graph, random: np.random.Generator, source: int) -> int | None:
    t = g.tensors[source]
    return g.operator("QUANTIZE", "", {}, [source], _result(g, random, t.shape, t.scales[0]))


Part = Callable[[st.DrawFn, Graph, np.random.Generator, int], int | None]

OPERATORS: dict[str, Part] = {
    part.__name__: part
    for part in (
        conv,
        depthwise,
        fully_connected,
        average_pool,
        max_pool,
        mean,
        reduce_max,
        add,
        concatenation,
        pad,
        reshape,
        relu,
        relu6,
        quantise,
    )
}
"""Each adds one operator that reads a tensor, and returns its result; None where the tensor's rank does not suit it."""


def _activations(g: Graph) -> list[int]:
    """Tensors that hold results, or the input."""
    return [i for i, t in enumerate(g.tensors) if t.data is None]


def _input(draw: st.DrawFn, g: Graph, random: np.random.Generator, ranks: list[int], batch: int) -> int:
    sizes = [draw(st.integers(1, 8)) for _ in range(draw(st.sampled_from(ranks)) - 2)]
    shape = (batch, *sizes, draw(st.integers(1, _LARGEST_CHANNELS)))
    return g.activation("input", shape, *_quantisation(random, 0.1))


def _inputs(g: Graph, random: np.random.Generator, source: int, images: int) -> np.ndarray:
    return int8(random, (images, *g.tensors[source].shape[1:]))


@st.composite
def tflite_operators(draw: st.DrawFn, kind: str, *, images: int = 3) -> tuple[bytes, np.ndarray]:
    """Draw a file with one operator of `OPERATORS` after a QUANTIZE, and inputs for it."""
    g, random = Graph(), draw(randoms())
    wanted = kind in {"conv", "depthwise", "average_pool", "max_pool"}
    first = _input(draw, g, random, [4] if wanted else [3, 4] if kind in {"mean", "reduce_max"} else [2, 3, 4], 1)
    at = OPERATORS["quantise"](draw, g, random, first)  # so that there is something to run
    if kind == "reshape":
        at = OPERATORS["max_pool"](draw, g, random, at) or at
    at = OPERATORS[kind](draw, g, random, at)
    return g.write(first, at), _inputs(g, random, first, images)


@st.composite
def tflite_graphs(
    draw: st.DrawFn, *, operators: int = 8, images: int = 3, batch: int = 1, kinds: tuple[str, ...] = tuple(OPERATORS)
) -> tuple[bytes, np.ndarray]:
    """Draw a file of up to `operators` operators with branches, and int8 inputs (images, *shape).

    The file's batch is `batch`; `images` is a multiple of it. Some operators may be needed by no output.
    """
    g, random = Graph(), draw(randoms())
    first = _input(draw, g, random, [4, 4, 4, 3, 2], batch)
    at = OPERATORS["quantise"](draw, g, random, first)
    for _ in range(draw(st.integers(1, operators))):
        kind = draw(st.sampled_from(kinds))
        # Mostly from the newest tensor, sometimes from an older one.
        source = at if draw(st.integers(0, 3)) else draw(st.sampled_from(_activations(g)[1:]))
        result = OPERATORS[kind](draw, g, random, source)
        at = at if result is None else result
    return g.write(first, at), _inputs(g, random, first, images)


def random_chain(random, *, softmax=False, float_ends=False):
    """Return a chain of one to four fully connected layers with every kind of scale, and a softmax or float ends."""
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
        if per_channel and channels > 1 and random.random() < 0.3:
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
