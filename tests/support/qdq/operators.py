"""Makers of the operators of random graphs: each adds one that reads a tensor, or returns None where none fits."""

from __future__ import annotations

import math

import numpy as np
from support.qdq.graphs import FloatGraph, weights, windows

_CHANNELS = 12
"""largest number of channels of an image"""


def conv(g: FloatGraph, random, x: str, *, keep: bool = False, channels: int = 0) -> str | None:
    """Dense, grouped or depthwise, over an image or a line; `keep`: of the same size."""
    shape = g.shapes[x]
    if len(shape) < 2:
        return None
    inputs, sizes = shape[0], shape[1:]
    group = int(random.choice([1, 1, 1, inputs, inputs, 2]))
    group = group if inputs % group == 0 else 1
    channels = channels or max(1, int(random.integers(1, _CHANNELS + 1)) // group) * group
    group = group if channels % group == 0 else 1
    if channels > 2 * _CHANNELS:
        return None
    beyond = 3 if random.random() < 0.05 else 0
    kernel, strides, pads, dilations, result = windows(random, sizes, dilations=random.random() < 0.2, beyond=beyond)
    if keep:
        kernel = [3 if n >= 3 and random.random() < 0.7 else 1 for n in sizes]
        strides, dilations, result = [1] * len(sizes), [1] * len(sizes), sizes
        pads = [k // 2 for k in (*kernel, *kernel)]
    attributes = {"strides": strides, "dilations": dilations, "group": group, "kernel_shape": kernel, "pads": pads}
    if not keep and max(dilations) == 1 and random.random() < 0.1:
        attributes["auto_pad"] = str(random.choice(["SAME_UPPER", "SAME_LOWER"]))
        del attributes["pads"]
        result = [-(-n // s) for n, s in zip(sizes, strides, strict=True)]
    terms = inputs // group * math.prod(kernel)
    kept = [op.constants["weights"] for op in g.ops if op.kind == "Conv"]
    kept = [w for w in kept if w.shape == (channels, inputs // group, *kernel) and random.random() < 0.2]
    constants = {"weights": kept[0] if kept else weights(random, (channels, inputs // group, *kernel), terms)}
    if random.random() < 0.75:
        constants["bias"] = random.normal(size=channels).astype(np.float32)
    return g.add("Conv", [x], [(channels, *result)], constants, **attributes)


def residual(g: FloatGraph, random, x: str) -> str | None:
    """Add a residual branch: a convolution that keeps the shape, perhaps a Relu, and the addition of its input."""
    if len(g.shapes[x]) < 2:
        return None
    y = conv(g, random, x, keep=True, channels=g.shapes[x][0])
    if y is None:
        return None
    if random.random() < 0.4:
        y = relu(g, random, y)
    return g.add("Add", [y, x] if random.random() < 0.5 else [x, y], [g.shapes[x]])


def conv_relu(g: FloatGraph, random, x: str) -> str | None:
    y = conv(g, random, x)
    return y and (relu if random.random() < 0.7 else clip)(g, random, y)


def conv_pool(g: FloatGraph, random, x: str) -> str | None:
    y = conv(g, random, x)
    return y and (max_pool if random.random() < 0.7 else average_pool)(g, random, y)


def gemm(g: FloatGraph, random, x: str) -> str | None:
    shape = g.shapes[x]
    if len(shape) > 1:
        x = flatten(g, random, x)
        shape = g.shapes[x]
    outputs, transposed = int(random.integers(1, 17)), bool(random.random() < 0.5)
    values = weights(random, (outputs, shape[0]), shape[0])
    constants = {"weights": values if transposed else values.T.copy()}
    if random.random() < 0.75:
        constants["bias"] = random.normal(size=outputs).astype(np.float32)
    return g.add("Gemm", [x], [(outputs,)], constants, transB=int(transposed))


def mat_mul(g: FloatGraph, random, x: str) -> str | None:
    """Over a vector, or over rows of channels, perhaps followed by the addition of a bias."""
    rank = len(g.shapes[x])
    if rank == 1 or random.random() < 0.2:
        return rows(g, random, x)
    x = turned(g, x, [*range(1, rank), 0])
    if rank == 3 and random.random() < 0.5:
        shape = g.shapes[x]
        x = g.add("Reshape", [x], [(shape[0] * shape[1], shape[2])], sizes=[0, -1, shape[2]])
        rank = 2
    y = rows(g, random, x)
    return turned(g, y, [rank - 1, *range(rank - 1)]) if random.random() < 0.8 else y


def rows(g: FloatGraph, random, x: str) -> str:
    """Multiply the last axis by a matrix."""
    shape = g.shapes[x]
    outputs = int(random.integers(1, 17))
    values = weights(random, (outputs, shape[-1]), shape[-1]).T.copy()
    y = g.add("MatMul", [x], [(*shape[:-1], outputs)], {"weights": values})
    if random.random() < 0.5:
        operand = {"operand": random.normal(size=outputs).astype(np.float32)}
        y = g.add("Add", [y], [g.shapes[y]], operand, first=bool(random.random() < 0.3))
    return y


def with_constant(g: FloatGraph, random, x: str, kind: str) -> str:
    """Add or Mul with a scalar or one value per channel."""
    shape = g.shapes[x]
    sizes = [(), (1,), (shape[0],) + (1,) * (len(shape) - 1), (1, shape[0]) + (1,) * (len(shape) - 1)]
    operand = random.normal(size=sizes[int(random.integers(len(sizes)))])
    if random.random() < 0.2:
        operand = np.abs(operand)
    constants = {"operand": np.asarray(operand, np.float32)}
    return g.add(kind, [x], [shape], constants, first=bool(random.random() < 0.3))


def add_constant(g: FloatGraph, random, x: str) -> str:
    return with_constant(g, random, x, "Add")


def mul_constant(g: FloatGraph, random, x: str) -> str:
    return with_constant(g, random, x, "Mul")


def add(g: FloatGraph, random, x: str) -> str | None:
    """Of two tensors of the same shape; a tensor may be added to itself."""
    fits = [t for t in g.shapes if g.shapes[t] == g.shapes[x]]
    others = [t for t in fits if t != x] or fits
    return g.add("Add", [x, str(random.choice(others))], [g.shapes[x]])


def relu(g: FloatGraph, random, x: str) -> str:
    return g.add("Relu", [x], [g.shapes[x]])


def clip(g: FloatGraph, random, x: str) -> str:
    bounds = [
        (0.0, 6.0),
        (0.0, 6.0),
        (0.0, 6.0),
        (0.0, 1.0),
        (-1.0, 1.0),
        (float(random.normal() - 1), float(random.normal() + 2)),
    ]
    low, high = bounds[int(random.integers(len(bounds)))]
    return g.add("Clip", [x], [g.shapes[x]], low=min(low, high), high=max(low, high))


def identity(g: FloatGraph, random, x: str) -> str:
    return g.add("Identity", [x], [g.shapes[x]])


def max_pool(g: FloatGraph, random, x: str) -> str | None:
    return _pool(g, random, x, "MaxPool")


def average_pool(g: FloatGraph, random, x: str) -> str | None:
    return _pool(g, random, x, "AveragePool")


def _pool(g: FloatGraph, random, x: str, kind: str) -> str | None:
    shape = g.shapes[x]
    if len(shape) < 2:
        return None
    kernel, strides, pads, _, result = windows(random, shape[1:], pads=random.random() < 0.4)
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    if kind == "AveragePool" and any(pads):
        attributes["count_include_pad"] = int(random.random() < 0.7)
    if not any(pads) and random.random() < 0.15:
        rounded = [-(-(n - k) // s) + 1 for n, k, s in zip(shape[1:], kernel, strides, strict=True)]
        if all(
            (r - 1) * s < n for r, s, n in zip(rounded, strides, shape[1:], strict=True)
        ):  # else versions of ONNX differ
            attributes["ceil_mode"], result = 1, rounded
    return g.add(kind, [x], [(shape[0], *result)], **attributes)


def global_average(g: FloatGraph, random, x: str) -> str | None:
    shape = g.shapes[x]
    if len(shape) < 2:
        return None
    return g.add("GlobalAveragePool", [x], [(shape[0],) + (1,) * (len(shape) - 1)])


def concat(g: FloatGraph, random, x: str) -> str | None:
    """Along any axis but the batch, with any tensors that fit."""
    shape = g.shapes[x]
    axis = int(random.integers(len(shape)))
    fits = [
        t
        for t, s in g.shapes.items()
        if len(s) == len(shape) and all(a == b for i, (a, b) in enumerate(zip(s, shape, strict=True)) if i != axis)
    ]
    parts = [x] + [str(random.choice(fits)) for _ in range(int(random.integers(1, 3)))]
    size = sum(g.shapes[t][axis] for t in parts)
    if size > 32:
        return None
    random.shuffle(parts)
    joined = (*shape[:axis], size, *shape[axis + 1 :])
    at = axis + 1 if random.random() < 0.7 else axis - len(shape)
    return g.add("Concat", parts, [joined], axis=at)


def pad(g: FloatGraph, random, x: str) -> str | None:
    shape = g.shapes[x]
    before = [int(n) for n in random.choice([0, 0, 1, 2], len(shape))]
    after = [int(n) for n in random.choice([0, 0, 1, 2], len(shape))]
    if len(shape) > 1:
        before[0] = after[0] = int(random.random() < 0.1)
    result = tuple(a + n + b for a, n, b in zip(before, shape, after, strict=True))
    return g.add("Pad", [x], [result], pads=[0, *before, 0, *after], named=bool(random.random() < 0.7))


def flatten(g: FloatGraph, random, x: str) -> str:
    shape = (math.prod(g.shapes[x]),)
    if random.random() < 0.5:
        return g.add("Flatten", [x], [shape], axis=1)
    return g.add("Reshape", [x], [shape], sizes=[0, -1] if random.random() < 0.5 else [-1, shape[0]])


def reshape(g: FloatGraph, random, x: str) -> str:
    """Join the axes of an image's pixels or split them; sometimes give any shape."""
    old, values = g.shapes[x], math.prod(g.shapes[x])
    shape: tuple[int, ...]
    if len(old) == 3 and random.random() < 0.5:
        shape = (old[0], old[1] * old[2])
    elif len(old) == 2 and old[1] % 2 == 0 and random.random() < 0.5:
        shape = (old[0], 2, old[1] // 2)
    else:
        first = int(random.choice([d for d in range(1, values + 1) if values % d == 0]))
        rest = values // first
        second = int(random.choice([d for d in range(1, rest + 1) if rest % d == 0]))
        shape = [(values,), (first, rest), (first, second, rest // second)][int(random.integers(3))]
    sizes = [0, *shape]
    if random.random() < 0.3:
        sizes[int(random.integers(1, len(sizes)))] = -1
    return g.add("Reshape", [x], [shape], sizes=sizes)


def turned(g: FloatGraph, x: str, order: list[int]) -> str:
    """Transpose the axes after the batch."""
    shape = tuple(g.shapes[x][a] for a in order)
    return g.add("Transpose", [x], [shape], perm=[0, *(a + 1 for a in order)])


def transpose(g: FloatGraph, random, x: str) -> str | None:
    """Channels last, and mostly first again after an operator, as exporters do; sometimes any order."""
    rank = len(g.shapes[x])
    if rank < 2:
        return None
    if random.random() < 0.25:
        return turned(g, x, [int(a) for a in random.permutation(rank)])
    y = turned(g, x, [*range(1, rank), 0])
    if random.random() < 0.3:
        return y
    makers = (relu, add_constant, rows, flatten)
    y = makers[int(random.integers(len(makers)))](g, random, y)
    return turned(g, y, [rank - 1, *range(rank - 1)]) if len(g.shapes[y]) == rank else y


def squeeze(g: FloatGraph, random, x: str) -> str | None:
    shape = g.shapes[x]
    ones = [i for i, n in enumerate(shape) if n == 1 and len(shape) > 1]
    if ones and random.random() < 0.7:
        axis = int(random.choice(ones))
        return g.add("Squeeze", [x], [shape[:axis] + shape[axis + 1 :]], axes=[axis + 1])
    if len(shape) == 3:
        return None
    axis = int(random.integers(len(shape) + 1))
    return g.add("Unsqueeze", [x], [(*shape[:axis], 1, *shape[axis:])], axes=[axis + 1])


def split(g: FloatGraph, random, x: str) -> str | None:
    """In two or three, along any axis but the batch."""
    shape = g.shapes[x]
    axis = int(random.integers(len(shape)))
    if shape[axis] < 2:
        return None
    if random.random() < 0.5 and shape[axis] % 2 == 0:
        sizes = [shape[axis] // 2] * 2
    else:
        first = int(random.integers(1, shape[axis]))
        sizes = [first, shape[axis] - first]
    return g.add("Split", [x], [(*shape[:axis], n, *shape[axis + 1 :]) for n in sizes], axis=axis + 1, sizes=sizes)


def slice_(g: FloatGraph, random, x: str) -> str | None:
    shape = g.shapes[x]
    axis = int(random.integers(len(shape)))
    if shape[axis] < 2:
        return None
    start = int(random.integers(0, shape[axis]))
    stop = int(random.integers(start + 1, shape[axis] + 1))
    step = 2 if random.random() < 0.15 else 1
    size = -(-(stop - start) // step)
    if random.random() < 0.3:
        start -= shape[axis]
    stop = stop if random.random() < 0.7 or stop < shape[axis] else 1 << 31
    return g.add(
        "Slice",
        [x],
        [(*shape[:axis], size, *shape[axis + 1 :])],
        starts=[start],
        ends=[stop],
        axes=[axis + 1],
        steps=[step],
    )


def reduce_mean(g: FloatGraph, random, x: str) -> str | None:
    shape = g.shapes[x]
    if len(shape) < 2:
        return None
    axes, keep = list(range(2, len(shape) + 1)), int(random.random() < 0.5)
    result = (shape[0],) + (1,) * (len(shape) - 1) * keep
    return g.add("ReduceMean", [x], [result], axes=axes, keepdims=keep)


def _last(kind: str):
    def make(g: FloatGraph, random, x: str) -> str:
        attributes = {"axis": -1 if random.random() < 0.85 else 1} if kind in ("Softmax", "LogSoftmax") else {}
        return g.add(kind, [x], [g.shapes[x]], **attributes)

    return make


def arg_max(g: FloatGraph, random, x: str) -> str:
    """Return the index of the largest value along the last axis, or of the channel."""
    shape, keep = g.shapes[x], bool(random.random() < 0.5)
    axis = len(shape) - 1 if random.random() < 0.6 else 0
    result = (*shape[:axis], *(1,) * keep, *shape[axis + 1 :])
    return g.add(
        "ArgMax", [x], [result], axis=axis + 1 if random.random() < 0.5 else axis - len(shape), keepdims=int(keep)
    )


OPERATORS = {
    maker.__name__: maker
    for maker in (
        conv, conv_relu, conv_pool, residual, gemm, mat_mul, add_constant, mul_constant, add, relu, clip, max_pool,
        average_pool, global_average, concat, pad, flatten, reshape, transpose, squeeze, split, slice_, reduce_mean,
        identity,
    )
}  # fmt: skip
"""makers by name"""
SHARES = np.array([16, 14, 5, 10, 8, 6, 3, 3, 5, 4, 3, 5, 3, 3, 5, 3, 3, 2, 2, 2, 2, 2, 0.3, 0.7])
SHARES = SHARES / SHARES.sum()
"""how often each is tried"""
HOST_LAST = {kind: _last(kind) for kind in ("Softmax", "LogSoftmax", "Sigmoid", "Tanh")} | {"ArgMax": arg_max}
"""makers of operators that come last in a graph"""
LAST = ["Softmax", "Softmax", "Softmax", "Softmax", "Sigmoid", "Tanh", "LogSoftmax", "ArgMax"]
