"""A small TensorFlow Lite graph, and changes that spoil it in one way each."""

import numpy as np
import tflite

from etchnet.host.exporters.flatbuffer import Graph

INT32, FLOAT32 = tflite.TensorType.INT32, tflite.TensorType.FLOAT32


class Case:
    """A graph of a convolution, a pool, a flattening and a fully connected layer, to be spoiled before writing."""

    def __init__(self):
        g = self.g = Graph()
        self.first = g.activation("input", (1, 6, 5, 3), 0.5, 3)
        self.conv = g.conv_2d(
            self.first,
            np.ones((4, 3, 2, 3), np.int8),
            [0.1] * 4,
            np.zeros(4, np.int32),
            g.activation("conv", (1, 6, 5, 4), 0.5, 1),
            same=True,
        )
        self.pool = g.pool_2d(
            "average", self.conv, g.like(self.conv, (1, 3, 2, 4), name="pool"), window=(2, 2), stride=(2, 2)
        )
        self.flat = g.reshape(self.pool, (1, 24))
        self.dense = g.fully_connected(
            self.flat, np.ones((7, 24), np.int8), [0.1], None, g.activation("dense", (1, 7), 0.5, 0)
        )
        self.last = self.dense

    def operator(self, index):
        """(options, inputs, outputs) of an operator, to be changed."""
        return self.g.operators[index][2:]

    def append(self, name, shape, *, scale=0.5, zero=0, options="", values=None, inputs=()):
        """Add an operator that reads the last result."""
        result = self.g.activation(name.lower(), shape, scale, zero)
        self.last = self.g.operator(name, options, values or {}, [self.last, *inputs], result)

    def write(self):
        return self.g.write(self.first, self.last)


def options(index, **values):
    return lambda c: c.operator(index)[0].update(values)


def tensor(which, **values):
    def change(c):
        for name, value in values.items():
            setattr(c.g.tensors[getattr(c, which)], name, value)

    return change


def weights(index, **values):
    def change(c):
        for name, value in values.items():
            setattr(c.g.tensors[c.operator(index)[1][1]], name, value)

    return change


def reads(index, which, position=0):
    def change(c):
        c.operator(index)[1][position] = getattr(c, which)

    return change


def writes(index, which):
    def change(c):
        c.operator(index)[2][0] = getattr(c, which)

    return change


def pad(paddings, shape, **values):
    def change(c):
        result = c.g.activation("pad", shape, 0.5, 1)
        c.last = c.g.pad(c.conv, np.array(paddings, np.int64), result, **values)

    return change


def mean(axes, shape, **values):
    def change(c):
        c.last = c.g.mean(c.conv, axes, c.g.activation("mean", shape, 0.5, 1), **values)

    return change


def reduce_max(axes, shape, scale=None):
    def change(c):
        t = c.g.tensors[c.conv]
        result = c.g.activation("largest", shape, scale or t.scales[0], t.zero_points[0])
        inputs = [c.conv, c.g.constant(np.array(axes, np.int32))]
        c.last = c.g.operator("REDUCE_MAX", "ReducerOptions", {"KeepDims": False}, inputs, result)

    return change


def strided_slice(begins, ends, strides=(1, 1, 1, 1)):
    """Add a STRIDED_SLICE, whose result has the size of its input."""

    def change(c):
        inputs = [c.conv, *(c.g.constant(np.array(values, np.int32)) for values in (begins, ends, strides))]
        c.last = c.g.operator("STRIDED_SLICE", "StridedSliceOptions", {}, inputs, c.g.like(c.conv))

    return change


def split(parts):
    """Add a SPLIT_V of the channels, whose results have the sizes that the parts should have."""

    def change(c):
        results = [c.g.like(c.conv, (1, 6, 5, 2)) for _ in parts]
        inputs = [c.conv, *(c.g.constant(np.array(value, np.int32)) for value in (parts, 3))]
        c.last = c.g.operator("SPLIT_V", "SplitVOptions", {"NumSplits": len(parts)}, inputs, results[0])
        c.operator(-1)[2].extend(results[1:])

    return change


def add(first, second, shape=(1, 6, 5, 4), scale=0.5, kind="add"):
    def change(c):
        operands = [getattr(c, first), getattr(c, second)]
        result = c.g.activation("sum", shape, scale, 0)
        c.last = c.g.add(*operands, result) if kind == "add" else c.g.concatenation(operands, 3, result)

    return change


def add_constant(c):
    constant = c.g.like(c.conv)
    c.g.tensors[constant].data = np.zeros((1, 6, 5, 4), np.int8)
    c.last = c.g.add(c.conv, constant, c.g.activation("sum", (1, 6, 5, 4), 0.5, 0))


def two_quantisations(c):
    c.first = c.g.tensor("real", (1, 6, 5, 3), FLOAT32)
    both = [c.g.operator("QUANTIZE", "", {}, [c.first], c.g.activation("q", (1, 6, 5, 3), s, 3)) for s in (0.5, 0.25)]
    c.last = c.g.add(*both, c.g.activation("sum", (1, 6, 5, 3), 0.5, 0))
    c.g.operators = c.g.operators[-3:]


def depthwise(shape, multiplier, **values):
    def change(c):
        scales = values.pop("scales", [0.1])
        c.last = c.g.depthwise_conv_2d(
            c.conv,
            np.ones(shape, np.int8),
            scales,
            None,
            c.g.activation("depthwise", (1, 6, 5, 4), 0.5, 0),
            multiplier=multiplier,
            same=True,
        )
        for name, value in values.items():
            setattr(c.g.tensors[c.operator(-1)[1][1]], name, value)

    return change


def later(c):
    c.g.operators.reverse()


def softmax_in_the_middle(c):
    scores = c.g.softmax(c.dense, (1, 7))
    c.last = c.g.operator("RELU", "", {}, [scores], c.g.activation("relu", (1, 7), 0.5, 0))


def arg_max_in_the_middle(c):
    best = c.g.tensor("best", (1,), INT32)
    c.g.simple(tflite.BuiltinOperator.ARG_MAX, c.dense, best, constant=np.array([1], np.int32))
    c.last = c.g.simple(
        tflite.BuiltinOperator.ARG_MAX, best, c.g.tensor("again", (1,), INT32), constant=np.array([0], np.int32)
    )


def arg_max_of_rows(c):
    result = c.g.tensor("best", (1, 6, 4), INT32)
    c.last = c.g.simple(tflite.BuiltinOperator.ARG_MAX, c.conv, result, constant=np.array([2], np.int32))


def deep(c):
    """Five axes."""
    c.last = c.g.reshape(c.conv, (1, 2, 3, 5, 4))
    c.last = c.g.pool_2d("max", c.last, c.g.like(c.last), window=(1, 1))
