"""Quantised ONNX models for tests: a writer of both forms, and random small models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from hypothesis import assume
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.strategies import randoms

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.importers.onnx.importer import parse_onnx
from etchnet.host.network.model import ModelError

CONTRIBUTED = "com.microsoft"
FORMS = ("QDQ", "QLinear")


@dataclass(frozen=True)
class Tensor:
    """An int8 tensor of a model that is being written; shapes are without the batch."""

    name: str
    shape: tuple[int, ...]
    scale: Any
    zero: int


class Writer:
    """Writes a model operator by operator, in the form QDQ or QLinear.

    Scales are float32; `out` is the (scale, zero point) of a result.
    """

    def __init__(self, form, *, opset=17, floats=True, batch="N"):
        self.form, self.opset, self.floats, self.batch = form, opset, floats, batch
        self.nodes, self.constants, self._input = [], [], None
        self._names = 0

    def name(self, hint="t"):
        self._names += 1
        return f"{hint}{self._names}"

    def constant(self, value, hint="c"):
        name = self.name(hint)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind, inputs, domain="", **attributes):
        result = self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, inputs, [result], domain=domain, **attributes))
        return result

    def pair(self, scale, zero):
        return [self.constant(np.float32(scale), "s"), self.constant(np.asarray(zero, np.int8), "z")]

    def input(self, shape, scale, zero):
        if self.floats:
            first = self.node("QuantizeLinear", ["x", *self.pair(scale, zero)])
        else:
            first = "x"
        self._input = Tensor(first, tuple(shape), np.float32(scale), int(zero))
        return self._input

    def read(self, tensor):
        return self.node("DequantizeLinear", [tensor.name, *self.pair(tensor.scale, tensor.zero)])

    def give(self, real, shape, out):
        name = self.node("QuantizeLinear", [real, *self.pair(*out)])
        return Tensor(name, tuple(shape), np.float32(out[0]), int(out[1]))

    def full(self, tensor):
        return [tensor.name, *self.pair(tensor.scale, tensor.zero)]

    def weights(self, values, scale, axis):
        names = [self.constant(values, "w"), self.constant(np.asarray(scale, np.float32), "ws")]
        names.append(self.constant(np.zeros(np.shape(scale), np.int8), "wz"))
        if self.form == "QDQ":
            extra = {"axis": axis} if np.ndim(scale) else {}
            return [self.node("DequantizeLinear", names, **extra)]
        return names

    def bias(self, values, scale):
        if values is None:
            return []
        name = self.constant(np.asarray(values, np.int32), "b")
        if self.form != "QDQ":
            return [name]
        names = [name, self.constant(np.asarray(scale, np.float32)), self.constant(np.zeros(np.shape(scale), np.int32))]
        return [self.node("DequantizeLinear", names, **({"axis": 0} if np.ndim(scale) else {}))]

    def conv(self, x, values, scale, bias, out, shape, *, then=None, **attributes):
        if self.form == "QDQ":
            parts = [*self.weights(values, scale, 0), *self.bias(bias, x.scale * np.float32(scale))]
            real = self.node("Conv", [self.read(x), *parts], **attributes)
            return self.give(self.node(*then[:1], [real, *then[1:]]) if then else real, shape, out)
        parts = [*self.weights(values, scale, 0), *self.pair(*out), *self.bias(bias, None)]
        name = self.node("QLinearConv", [*self.full(x), *parts], **attributes)
        return Tensor(name, tuple(shape), np.float32(out[0]), int(out[1]))

    def gemm(self, x, values, scale, bias, out, *, transposed=False, **attributes):
        stored = values.T.copy() if transposed else values
        attributes["transB"] = int(transposed)
        if self.form == "QDQ":
            parts = self.weights(stored, scale, 0 if transposed else 1)
            parts += self.bias(bias, x.scale * np.float32(scale))
            return self.give(self.node("Gemm", [self.read(x), *parts], **attributes), values.shape[1:], out)
        parts = [*self.weights(stored, scale, 1), *(self.bias(bias, None) or [""])]
        name = self.node("QGemm", [*self.full(x), *parts, *self.pair(*out)], CONTRIBUTED, **attributes)
        return Tensor(name, values.shape[1:], np.float32(out[0]), int(out[1]))

    def mat_mul(self, x, values, scale, out):
        if self.form == "QDQ":
            real = self.node("MatMul", [self.read(x), *self.weights(values, scale, 1)])
            return self.give(real, values.shape[1:], out)
        name = self.node("QLinearMatMul", [*self.full(x), *self.weights(values, scale, 1), *self.pair(*out)])
        return Tensor(name, values.shape[1:], np.float32(out[0]), int(out[1]))

    def simple(self, kind, x, shape, out, **attributes):
        """AveragePool, GlobalAveragePool, Softmax."""
        if self.form == "QDQ":
            attributes.pop("opset", None)
            return self.give(self.node(kind, [self.read(x)], **attributes), shape, out)
        name = self.node(f"QLinear{kind}", [*self.full(x), *self.pair(*out)], CONTRIBUTED, **attributes)
        return Tensor(name, tuple(shape), np.float32(out[0]), int(out[1]))

    def add(self, a, b, out):
        """`b` may be a constant: int8 values, scale and zero point."""
        if isinstance(b, tuple):
            values, scale, zero = b
            b = Tensor(self.constant(values), np.shape(values), np.float32(scale), int(zero))
        if self.form == "QDQ":
            return self.give(self.node("Add", [self.read(a), self.read(b)]), a.shape, out)
        name = self.node("QLinearAdd", [*self.full(a), *self.full(b), *self.pair(*out)], CONTRIBUTED)
        return Tensor(name, a.shape, np.float32(out[0]), int(out[1]))

    def concat(self, parts, axis, shape, out):
        if self.form == "QDQ":
            return self.give(self.node("Concat", [self.read(p) for p in parts], axis=axis), shape, out)
        names = [name for part in parts for name in self.full(part)]
        name = self.node("QLinearConcat", [*self.pair(*out), *names], CONTRIBUTED, axis=axis)
        return Tensor(name, tuple(shape), np.float32(out[0]), int(out[1]))

    def same(self, kind, x, shape, *inputs, **attributes):
        """Operators that take int8 as it is: MaxPool, Flatten, Reshape, Transpose, Squeeze, Pad."""
        if self.form == "QDQ":
            real = self.node(kind, [self.read(x), *inputs], **attributes)
            return replace(self.give(real, shape, (x.scale, x.zero)))
        return replace(x, name=self.node(kind, [x.name, *inputs], **attributes), shape=tuple(shape))

    def write(self, result, *, floats=None, inputs=(), outputs=()):
        """Return the file; further inputs and outputs are float32, as pairs of name and shape."""
        floats = self.floats if floats is None else floats
        output = self.read(result) if floats else result.name
        kinds = {True: TensorProto.FLOAT, False: TensorProto.INT8}
        first = ("x", kinds[self.floats], self._input.shape)
        last = (output, kinds[floats], result.shape)
        further = ([(name, TensorProto.FLOAT, shape) for name, shape in ends] for ends in (inputs, outputs))
        ends = [
            [helper.make_tensor_value_info(name, kind, [self.batch, *shape]) for name, kind, shape in (one, *rest)]
            for one, rest in zip((first, last), further, strict=True)
        ]
        graph = helper.make_graph(
            self.nodes,
            "graph",
            *ends,
            self.constants,
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(CONTRIBUTED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def begin(form, random, shape, **options):
    """Start a model of one form with an int8 input; returns its writer and the input."""
    writer = Writer(form, floats=False, **options)
    return writer, writer.input(shape, random_scale(random), int(random.integers(-128, 128)))


def random_out(random, scale, terms=1):
    """Scale and zero point under which sums of `terms` products of int8 with that scale fill int8 and a little more."""
    spread = np.float32(scale * 74 * 74 * np.sqrt(terms) / random.uniform(25, 80))
    return spread, int(random.choice([-128, 0, int(random.integers(-128, 128))]))


def random_scale(random):
    """Any, or one of few bits, under which rounding meets many ties."""
    return np.float32(np.exp(random.uniform(-6, -1)) if random.random() < 0.6 else 2.0 ** -random.integers(2, 8))


def some_scales(random, kind):
    """Draw scales: any, equal for both operands, with few bits (ties are exact), or thirds (noise decides ties)."""
    if kind == 0:
        a, b = np.exp(random.uniform(-6, 0, 2))
        return np.float32(a), np.float32(b), np.float32(max(a, b) * np.exp(random.uniform(-0.5, 1)))
    if kind == 1:
        a = np.exp(random.uniform(-6, 0))
        return np.float32(a), np.float32(a), np.float32(a * np.exp(random.uniform(-0.1, 1)))
    if kind == 2:
        powers = 2.0 ** -random.integers(1, 7, 3)
        return tuple(
            np.float32(odd * power) for odd, power in zip((*random.choice([1, 3, 5], 2), 1), powers, strict=True)
        )
    return np.float32(1 / 3), np.float32(1 / 3), np.float32(2.0 ** random.integers(-1, 3))


def random_bytes(random, shape):
    """Full-range int8."""
    return random.integers(-128, 128, shape).astype(np.int8)


def random_conv(writer, random, x, *, channels=None, keep=False):
    """Return a convolution of an image with anything that one may have; `keep`: of the same height and width."""
    inputs, height, width = x.shape
    channels = channels or int(random.integers(1, 13))
    group = int(random.choice([1, 1, 1, inputs, 2]))
    if inputs % group:
        group = 1
    if group > 1:
        channels = group * max(1, channels // group) if not keep else channels
        group = group if channels % group == 0 else 1
    kernel = [int(random.integers(1, min(4, size + 1))) for size in (height, width)]
    if keep:
        kernel = [min(3, k) | 1 for k in kernel]
    stride = [1, 1] if keep else [int(n) for n in random.integers(1, 3, 2)]
    dilation = [
        1 if k == 1 or (k - 1) * 2 >= size else int(random.integers(1, 3))
        for k, size in zip(kernel, (height, width), strict=True)
    ]
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = [s // 2 for s in span] * 2 if keep else [int(random.integers(0, k)) for k in (*kernel, *kernel)]
    attributes = {"strides": stride, "dilations": dilation, "group": group, "pads": pads}
    sizes = [(n + pads[i] + pads[i + 2] - span[i]) // stride[i] + 1 for i, n in enumerate((height, width))]
    if not keep and max(dilation) == 1 and random.random() < 0.2:
        attributes["auto_pad"] = str(random.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        del attributes["pads"]
        if attributes["auto_pad"] == "VALID":
            sizes = [(n - span[i]) // stride[i] + 1 for i, n in enumerate((height, width))]
        else:
            sizes = [ceil_div(n, stride[i]) for i, n in enumerate((height, width))]
    values = random_bytes(random, (channels, inputs // group, *kernel))
    per_channel = random.random() < 0.5
    scale = np.exp(random.uniform(-7, -4, channels if per_channel else ())).astype(np.float32)
    terms = values[0].size
    out = random_out(random, float(x.scale * scale.mean()), terms)
    bias = random.integers(-4000, 4000, channels) if random.random() < 0.7 else None
    return writer.conv(x, values, scale, bias, out, (channels, *sizes), **attributes)


def random_gemm(writer, random, x):
    """Return a matrix product, with or without a bias."""
    values = random_bytes(random, (int(np.prod(x.shape)), int(random.integers(1, 21))))
    per_channel = random.random() < 0.5
    scale = np.exp(random.uniform(-7, -4, values.shape[1] if per_channel else ())).astype(np.float32)
    out = random_out(random, float(x.scale * scale.mean()), len(values))
    if random.random() < 0.3:
        return writer.mat_mul(x, values, scale, out)
    bias = random.integers(-4000, 4000, values.shape[1]) if random.random() < 0.7 else None
    return writer.gemm(x, values, scale, bias, out, transposed=bool(random.random() < 0.5))


def near(random, scale):
    """Scale and zero point of a result about as large as its operands."""
    return np.float32(scale * np.exp(random.uniform(-0.3, 0.7))), int(random.integers(-128, 128))


def random_model(random, form):
    """(bytes of a model, int8 or float inputs for it): up to 8 x 8 x 20."""
    writer = Writer(form, opset=int(random.choice([13, 17, 21])), floats=bool(random.random() < 0.7))
    shape = int(random.integers(1, 9)), int(random.integers(1, 9)), int(random.integers(1, 9))
    first = x = writer.input(shape, random_scale(random), int(random.integers(-128, 128)))
    for _ in range(int(random.integers(1, 4))):
        kind = random.choice(["conv", "conv", "residual", "concat", "max", "average", "pad", "add"])
        channels, height, width = x.shape
        if kind == "conv":
            x = random_conv(writer, random, x)
        elif kind == "residual":
            y = random_conv(writer, random, x, channels=channels, keep=True)
            x = writer.add(y, x, near(random, max(x.scale, y.scale)))
        elif kind == "add":
            y = random_conv(writer, random, x)
            x = writer.add(y, y, near(random, 2 * y.scale))
        elif kind == "concat":
            parts = [random_conv(writer, random, x, channels=channels, keep=True), x]
            axis = int(random.integers(1, 4))
            if axis == 1 and channels > 10:
                axis = 2
            joined = list(x.shape)
            joined[axis - 1] *= 2
            x = writer.concat(parts, axis, joined, near(random, max(p.scale for p in parts)))
        elif kind == "max":
            kernel = [int(random.integers(1, min(4, n + 1))) for n in (height, width)]
            pads = [int(random.integers(0, k)) for k in (*kernel, *kernel)]
            stride = [int(n) for n in random.integers(1, 3, 2)]
            sizes = [(n + pads[i] + pads[i + 2] - kernel[i]) // stride[i] + 1 for i, n in enumerate((height, width))]
            x = writer.same("MaxPool", x, (channels, *sizes), kernel_shape=kernel, pads=pads, strides=stride)
        elif kind == "average":
            kernel = [int(random.choice([n for n in (1, 3) if n <= size])) for size in (height, width)]
            sizes = [n - k + 1 for n, k in zip((height, width), kernel, strict=True)]
            x = writer.simple("AveragePool", x, (channels, *sizes), near(random, x.scale), kernel_shape=kernel)
        elif kind == "pad":
            pads = [
                0,
                0,
                *(int(n) for n in random.integers(0, 2, 2)),
                0,
                0,
                *(int(n) for n in random.integers(0, 2, 2)),
            ]
            fill = np.float32(0) if form == "QDQ" else np.int8(x.zero)
            padded = channels, height + pads[2] + pads[6], width + pads[3] + pads[7]
            x = writer.same("Pad", x, padded, writer.constant(np.array(pads, np.int64)), writer.constant(fill))
    if random.random() < 0.6:
        if random.random() < 0.4:
            x = writer.simple("GlobalAveragePool", x, (x.shape[0], 1, 1), near(random, x.scale))
        x = writer.same("Flatten", x, (int(np.prod(x.shape)),))
        x = random_gemm(writer, random, x)
        if random.random() < 0.5:
            x = random_gemm(writer, random, x)
        if random.random() < 0.4:
            x = writer.simple(
                "Softmax", x, x.shape, (1 / 256, -128), axis=1, **({"opset": 13} if form != "QDQ" else {})
            )
    inputs = random_bytes(random, (2, *shape))
    if writer.floats:
        return writer.write(x), ((inputs.astype(np.float32) - first.zero) * first.scale).astype(np.float32)
    return writer.write(x), inputs


def damage(random, good):
    """Return a file with bits turned, bytes set to extremes, or its end cut off."""
    bad = bytearray(good)
    for _ in range(int(random.integers(1, 6))):
        kind, position = random.integers(4), int(random.integers(len(bad)))
        if kind == 0:
            bad[position] ^= 1 << int(random.integers(8))
        elif kind == 1:
            bad[position] = int(random.choice([0, 0x7F, 0x80, 0xFF]))
        elif kind == 2:
            del bad[position : position + int(random.integers(1, 20))]
        elif random.random() < 0.2:
            del bad[position:]
        if len(bad) < 8:
            break
    return bytes(bad)


def distort(random, good):
    """Return a well-formed file that says something else: other sizes, types, operators, inputs, or fewer of them."""
    model = onnx.load_from_string(good)
    nodes, constants = model.graph.node, model.graph.initializer
    sizes = [0, -1, 1, 2, 3, 7, 1 << 20, 1 << 40, -(1 << 40)]
    extra = ["Relu", "Clip", "MaxPool", "AveragePool", "Softmax", "Concat", "ArgMax", "Squeeze", "Transpose", "Pad"]
    for _ in range(int(random.integers(1, 4))):
        node, tensor = nodes[int(random.integers(len(nodes)))], constants[int(random.integers(len(constants)))]
        kind = random.integers(6)
        if kind == 0 and node.attribute:
            attribute = node.attribute[int(random.integers(len(node.attribute)))]
            if attribute.ints:
                attribute.ints[int(random.integers(len(attribute.ints)))] = int(random.choice(sizes))
            attribute.i = int(random.choice(sizes))
        elif kind == 1 and node.input:
            other = nodes[int(random.integers(len(nodes)))]
            names = [*other.output, *other.input, ""]
            node.input[int(random.integers(len(node.input)))] = str(random.choice(names))
        elif kind == 2 and tensor.dims:
            tensor.dims[int(random.integers(len(tensor.dims)))] = int(random.choice(sizes))
        elif kind == 3:
            tensor.data_type = int(random.integers(0, 25))
        elif kind == 4:
            node.op_type = str(random.choice([other.op_type for other in nodes] + extra))
        elif node.input:
            node.input.pop()
    return model.SerializeToString()


@st.composite
def onnx_models(draw):
    """(bytes of a supported ONNX model, inputs for it), in either form."""
    random = draw(randoms())
    data, x = random_model(random, draw(st.sampled_from(FORMS)))
    try:
        parse_onnx(data)
    except ModelError as error:
        # The only reasons that a model of this kind may be refused for.
        if not any(reason in str(error) for reason in ("rounding ties", "must have a layer between", "overflows")):
            raise
        assume(False)
    return data, x
