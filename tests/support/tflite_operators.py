"""More operators for random TensorFlow Lite files: those that move values, and those with constant operands.

Each function adds one operator that reads a tensor, and returns its result, or None where the tensor does not suit it.
The importer may refuse some of what they make, for reasons that `REFUSALS` matches.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from support.model_strategies import _ACTIVATIONS, OPERATORS, Part, _bias, _inputs, _result, _spread, _weights
from support.strategies import int8, randoms

from etchnet.host.exporters.flatbuffer import Graph

REFUSALS = (
    "moves values|exactly between|none was found|at most three can be separate|last axes of|keep the batch of 2|"
    "reads blocks of"
)


def _int32(g: Graph, values) -> int:
    return g.constant(np.array(values, np.int32))


def _positive(draw, g, source, axis):
    """Return an axis, counted from the start or from the end."""
    return axis - len(g.tensors[source].shape) if draw(st.booleans()) else axis


def strided_slice(draw, g, random, source):
    shape = g.tensors[source].shape
    begins, ends, strides, masks, result = [], [], [], [0, 0, 0], []
    for axis, n in enumerate(shape):
        stride = draw(st.integers(1, 3)) if axis else 1
        begin = draw(st.integers(0, n - 1)) if axis else 0
        end = draw(st.integers(begin + 1, n)) if axis else n
        shrink = axis > 0 and len(result) > 0 and draw(st.integers(0, 2)) == 0
        for which, bit in enumerate((begin == 0, end == n, shrink)):
            masks[which] |= (bit and (which == 2 or draw(st.booleans()))) << axis
        begins.append(begin - n * draw(st.booleans()))
        ends.append(end - n * (end < n and draw(st.booleans())) + 9 * (end == n and draw(st.booleans())))
        for which, bounds in enumerate((begins, ends)):
            if masks[which] >> axis & 1 or which == shrink == 1:  # the bound has no effect
                bounds[axis] = draw(st.integers(-9, 9))
        strides.append(stride)
        if not shrink:
            result.append(-(-(end - begin) // stride))
    inputs = [source, *(_int32(g, values) for values in (begins, ends, strides))]
    values = dict(zip(("BeginMask", "EndMask", "ShrinkAxisMask"), masks, strict=True))
    return g.operator("STRIDED_SLICE", "StridedSliceOptions", values, inputs, g.like(source, tuple(result)))


def slice_(draw, g, random, source):
    begins, sizes, result = [], [], []
    for axis, n in enumerate(g.tensors[source].shape):
        begins.append(draw(st.integers(0, n - 1)) if axis else 0)
        size = draw(st.integers(1, n - begins[-1])) if axis else n
        sizes.append(-1 if size == n - begins[-1] and draw(st.booleans()) else size)
        result.append(size)
    return g.operator("SLICE", "", {}, [source, _int32(g, begins), _int32(g, sizes)], g.like(source, tuple(result)))


def _several(g, name, options, values, inputs, results):
    g.operator(name, options, values, inputs, results[0])
    g.operators[-1][4].extend(results[1:])
    return results


def split(draw, g, random, source):
    shape = g.tensors[source].shape
    axis = draw(st.integers(1, len(shape) - 1))
    counts = [c for c in range(1, 5) if shape[axis] % c == 0]
    count = draw(st.sampled_from(counts))
    part = (*shape[:axis], shape[axis] // count, *shape[axis + 1 :])
    results = [g.like(source, part) for _ in range(count)]
    inputs = [_int32(g, _positive(draw, g, source, axis)), source]
    return draw(st.sampled_from(_several(g, "SPLIT", "SplitOptions", {"NumSplits": count}, inputs, results)))


def split_v(draw, g, random, source):
    shape = g.tensors[source].shape
    axis = draw(st.integers(1, len(shape) - 1))
    cuts = sorted({draw(st.integers(1, shape[axis])) for _ in range(2)} | {shape[axis]})
    parts = np.diff([0, *cuts]).tolist()
    results = [g.like(source, (*shape[:axis], n, *shape[axis + 1 :])) for n in parts]
    inputs = [source, _int32(g, parts), _int32(g, axis)]
    return draw(st.sampled_from(_several(g, "SPLIT_V", "SplitVOptions", {"NumSplits": len(parts)}, inputs, results)))


def unpack(draw, g, random, source):
    shape = g.tensors[source].shape
    axis = draw(st.integers(1, len(shape) - 1))
    if len(shape) < 3 or shape[axis] > 4:
        return None
    results = [g.like(source, (*shape[:axis], *shape[axis + 1 :])) for _ in range(shape[axis])]
    values = {"Num": shape[axis], "Axis": _positive(draw, g, source, axis)}
    return draw(st.sampled_from(_several(g, "UNPACK", "UnpackOptions", values, [source], results)))


def pack(draw, g, random, source):
    shape = g.tensors[source].shape
    if len(shape) > 3:
        return None
    axis, count = draw(st.integers(1, len(shape))), draw(st.integers(1, 3))
    values = {"ValuesCount": count, "Axis": axis}
    return g.operator(
        "PACK", "PackOptions", values, [source] * count, g.like(source, (*shape[:axis], count, *shape[axis:]))
    )


def transpose(draw, g, random, source):
    shape = g.tensors[source].shape
    axes = [0, *draw(st.permutations(range(1, len(shape))))]
    result = g.like(source, tuple(shape[axis] for axis in axes))
    return g.operator("TRANSPOSE", "TransposeOptions", {}, [source, _int32(g, axes)], result)


def _constant(draw, g, random, shape, like):
    """Return a constant, one number or one per channel."""
    ones = draw(st.sampled_from([(), (1,), (1,) * len(shape)]))
    sizes = ones if draw(st.booleans()) else (*(1,) * (len(shape) - 1), shape[-1])
    index = _result(g, random, sizes, like * float(np.exp(random.uniform(-2, 2))))
    g.tensors[index].data = int8(random, sizes)
    return index


def _with_constant(draw, g, random, source, kind, scale):
    shape = g.tensors[source].shape
    constant = _constant(draw, g, random, shape, g.tensors[source].scales[0])
    scales = [g.tensors[index].scales[0] for index in (source, constant)]
    inputs = [source, constant] if draw(st.booleans()) else [constant, source]
    values = {"FusedActivationFunction": draw(st.sampled_from(_ACTIVATIONS))}
    return g.operator(kind, f"{kind.title()}Options", values, inputs, _result(g, random, shape, scale(*scales)))


def add_constant(draw, g, random, source):
    return _with_constant(draw, g, random, source, "ADD", lambda a, b: 2 * max(a, b))


def sub_constant(draw, g, random, source):
    return _with_constant(draw, g, random, source, "SUB", lambda a, b: 2 * max(a, b))


def mul_constant(draw, g, random, source):
    return _with_constant(draw, g, random, source, "MUL", lambda a, b: 100 * a * b)


def sub(draw, g, random, source):
    other = g.operator("QUANTIZE", "", {}, [source], _result(g, random, g.tensors[source].shape, 0.1))
    scale = 2 * max(g.tensors[index].scales[0] for index in (source, other))
    pair = [source, other] if draw(st.booleans()) else [other, source]
    values = {"FusedActivationFunction": draw(st.sampled_from(_ACTIVATIONS))}
    result = _result(g, random, g.tensors[source].shape, scale)
    return g.operator("SUB", "SubOptions", values, pair, result)


def clamp(draw, g, random, source):
    constant = g.like(source, ())
    g.tensors[constant].data = int8(random, ())
    kind = draw(st.sampled_from(["MAXIMUM", "MINIMUM"]))
    return g.operator(kind, "MaximumMinimumOptions", {}, [source, constant], g.like(source))


def total(draw, g, random, source):
    shape = g.tensors[source].shape
    axes = draw(st.lists(st.integers(1, len(shape) - 1), min_size=1, max_size=len(shape) - 1, unique=True))
    keep = draw(st.booleans())
    left = tuple((n, 1)[axis in axes] for axis, n in enumerate(shape) if keep or axis not in axes)
    inputs = [source, _int32(g, [_positive(draw, g, source, axis) for axis in axes])]
    result = _result(g, random, left, g.tensors[source].scales[0] * float(np.exp(random.uniform(0, 3))))
    return g.operator("SUM", "ReducerOptions", {"KeepDims": keep}, inputs, result)


def largest(draw, g, random, source):
    shape = g.tensors[source].shape
    first, keep = draw(st.integers(1, len(shape) - 1)), draw(st.booleans())
    axes = list(range(first, len(shape)))
    left = tuple((n, 1)[axis in axes] for axis, n in enumerate(shape) if keep or axis not in axes)
    return g.operator(
        "REDUCE_MAX", "ReducerOptions", {"KeepDims": keep}, [source, _int32(g, axes)], g.like(source, left)
    )


def rows(draw, g, random, source):
    shape = g.tensors[source].shape
    channels, terms = draw(st.integers(1, 9)), shape[-1]
    weights, scales = _weights(random, (channels, terms), 0)
    scale, keep = _spread(random, g.tensors[source].scales[0], scales, terms), draw(st.booleans())
    sizes = (*shape[:-1], channels) if keep else (int(np.prod(shape[:-1])), channels)
    result, bias = _result(g, random, sizes, scale), _bias(random, channels)
    return g.fully_connected(source, weights, scales, bias, result, keep_num_dims=keep)


def grouped(draw, g, random, source):
    shape = g.tensors[source].shape
    counts = [c for c in range(2, 9) if len(shape) == 4 and shape[3] % c == 0]
    if not counts:
        return None
    groups = draw(st.sampled_from(counts))
    channels, kernel = groups * draw(st.integers(1, 3)), tuple(draw(st.integers(1, min(3, n))) for n in shape[1:3])
    weights, scales = _weights(random, (channels, *kernel, shape[3] // groups), 0)
    scale = _spread(random, g.tensors[source].scales[0], scales, weights[0].size)
    result = _result(g, random, (*shape[:3], channels), scale)
    return g.conv_2d(source, weights, scales, _bias(random, channels), result, same=True)


def blocks(draw, g, random, source):
    shape = g.tensors[source].shape
    if len(shape) != 4 or shape[0] != 1:
        return None
    block, kernel = ([draw(st.integers(1, 3)) for _ in range(2)] for _ in range(2))
    border, inner = [], []
    for n, b, k in zip(shape[1:3], block, kernel, strict=True):
        before, least = draw(st.integers(0, 2)), (k - 1) * b + 1
        after = -(n + before) % b
        while n + before + after < least:
            after += b
        border.append((before, after))
        inner.append((n + before + after) // b)
    count, same = int(np.prod(block)), draw(st.booleans())
    cut = g.like(source, (count, *inner, shape[3]))
    g.operator("SPACE_TO_BATCH_ND", "", {}, [source, _int32(g, block), _int32(g, border)], cut)
    channels, left = draw(st.integers(1, 6)), [n if same else n - k + 1 for n, k in zip(inner, kernel, strict=True)]
    deep = draw(st.booleans())
    sizes = (1, *kernel, shape[3]) if deep else (channels, *kernel, shape[3])
    weights, scales = _weights(random, sizes, 3 if deep else 0)
    made = _result(g, random, (count, *left, shape[3] if deep else channels), 0.1)
    convolve = g.depthwise_conv_2d if deep else g.conv_2d
    convolve(cut, weights, scales, None, made, same=same)
    whole = [n * b for n, b in zip(left, block, strict=True)]
    firsts = [draw(st.integers(0, min(1, n - 1))) for n in whole]
    crops = [(first, draw(st.integers(0, min(2, n - first - 1)))) for first, n in zip(firsts, whole, strict=True)]
    sizes = (1, *(n - sum(pair) for n, pair in zip(whole, crops, strict=True)), g.tensors[made].shape[3])
    return g.operator("BATCH_TO_SPACE_ND", "", {}, [made, _int32(g, block), _int32(g, crops)], g.like(made, sizes))


MORE_OPERATORS: dict[str, Part] = {
    part.__name__: part
    for part in (
        strided_slice,
        slice_,
        split,
        split_v,
        unpack,
        pack,
        transpose,
        add_constant,
        sub_constant,
        mul_constant,
        sub,
        clamp,
        total,
        largest,
        rows,
        grouped,
        blocks,
    )
}


@st.composite
def one_operator(draw: st.DrawFn, kind: str, *, batch: int = 1) -> tuple[bytes, np.ndarray]:
    """Draw a file with one of the operators, alone or between others, and inputs for it."""
    g, random = Graph(), draw(randoms())
    sizes = [draw(st.integers(1, 7)) for _ in range(draw(st.integers(0, 2)))]
    shape = (batch, *sizes, draw(st.integers(1, 12)))
    first = at = g.activation("input", shape, 0.1, draw(st.integers(-128, 127)))
    if draw(st.booleans()):
        at = g.operator("QUANTIZE", "", {}, [at], _result(g, random, shape, 0.1))
    made = MORE_OPERATORS[kind](draw, g, random, at)
    at = at if made is None else made
    if draw(st.booleans()):
        t = g.tensors[at]
        at = g.operator("QUANTIZE", "", {}, [at], _result(g, random, t.shape, t.scales[0]))
    return g.write(first, at), _inputs(g, random, first, 2 * batch)


@st.composite
def all_operators(draw: st.DrawFn, *, operators: int = 6) -> tuple[bytes, np.ndarray]:
    """Draw a file with up to `operators` operators of all kinds, each on an earlier result, and inputs for it."""
    g, random, kinds = Graph(), draw(randoms()), OPERATORS | MORE_OPERATORS
    sizes = [draw(st.integers(1, 7)) for _ in range(draw(st.integers(0, 2)))]
    first = g.activation("input", (1, *sizes, draw(st.integers(1, 12))), 0.1, draw(st.integers(-128, 127)))
    results = [OPERATORS["quantise"](draw, g, random, first)]
    for _ in range(draw(st.integers(1, operators))):
        source = results[-1] if draw(st.integers(0, 3)) else draw(st.sampled_from(results))
        if len(g.tensors[source].shape) < 2 or g.tensors[source].shape[0] != 1:
            continue
        made = kinds[draw(st.sampled_from(sorted(kinds)))](draw, g, random, source)
        if made is not None:
            results.append(made)
    return g.write(first, results[-1]), _inputs(g, random, first, 2)
