"""Writes a float graph with a plan of its quantisation as an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from support.qdq.graphs import FloatGraph, Op
from support.qdq.plans import Pair, Plan, Stored

_TYPES = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8, np.int16: TensorProto.INT16}


@dataclass(frozen=True)
class Style:
    """How a file is written.

    `batch` None is a dynamic batch. `shared` writes equal constants once, `nodes` as Constant operators, `shuffled` in
    an order in which operators may come before those that they read.
    """

    opset: int = 17
    batch: int | None = None
    shared: bool = False
    nodes: bool = False
    shuffled: bool = False

    @property
    def ir(self) -> int:
        """Version of the format: the one that came with the operator set."""
        return 8 if self.opset < 19 else 9 if self.opset < 21 else 10


class _Writer:
    def __init__(self, graph: FloatGraph, plan: Plan, style: Style) -> None:
        self.graph, self.plan, self.style = graph, plan, style
        self.nodes, self.constants, self.kept = [], [], {}
        self.values: dict[str, str] = {}
        self.types: dict[str, type] = {}
        self.names = 0

    def name(self, hint: str) -> str:
        self.names += 1
        return f"{hint}_{self.names}"

    def constant(self, value) -> str:
        value = np.asarray(value)
        key = value.dtype.str, value.shape, value.tobytes()
        if self.style.shared and key in self.kept:
            return self.kept[key]
        name = self.kept[key] = self.name("c")
        tensor = numpy_helper.from_array(value, name)
        if self.style.nodes:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.constants.append(tensor)
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str] | None = None, **attributes) -> str:
        outputs = outputs or [self.name(kind.lower())]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{kind}_{len(self.nodes)}", **attributes))
        return outputs[0]

    def quantise(self, x: str, pair: Pair) -> str:
        y = self.node("QuantizeLinear", [x, self.constant(pair.scale), self.constant(pair.dtype(pair.zero))])
        if pair.limits:
            y = self.node("Clip", [y, *(self.constant(pair.dtype(n)) for n in pair.limits)])
        self.types[y] = pair.dtype
        return y

    def dequantise(self, x: str, pair: Pair) -> str:
        zero = [self.constant(pair.dtype(pair.zero))] if pair.zero or pair.zero_input else []
        return self.node("DequantizeLinear", [x, self.constant(pair.scale), *zero])

    def through(self, x: str, pairs: list[Pair]) -> str:
        for pair in pairs:
            x = self.dequantise(self.quantise(x, pair), pair)
        return x

    def give(self, tensor: str) -> None:
        """Write the pairs after a tensor."""
        pairs = self.plan.pairs.get(tensor, [])
        readers = {(i, k) for i, op in enumerate(self.graph.ops) for k, t in enumerate(op.inputs) if t == tensor}
        if tensor in self.plan.quantised_inputs:
            self.values[tensor] = self.through(self.dequantise(tensor, pairs[0]), pairs[1:])
        elif tensor not in self.graph.outputs and readers <= self.plan.dedicated:
            self.values[tensor] = tensor
        else:
            self.values[tensor] = self.through(tensor, pairs)

    def read(self, number: int, position: int) -> str:
        tensor = self.graph.ops[number].inputs[position]
        name = self.values[tensor]
        pairs = self.plan.pairs.get(tensor, [])
        if (number, position) in self.plan.dedicated and pairs and tensor not in self.plan.quantised_inputs:
            name = self.through(tensor, pairs)
        return self.through(name, self.plan.edges.get((number, position), []))

    def stored(self, number: int, name: str) -> str | None:
        """Return the name of a constant of an operator, dequantised if the plan says so."""
        value, plan = self.graph.ops[number].constants.get(name), self.plan.constants.get((number, name))
        if value is None:
            return None
        if plan is None:
            return self.constant(value)
        return self._stored(value, plan)

    def _stored(self, value: np.ndarray, plan: Stored) -> str:
        scale = self.constant(np.asarray(plan.scale, np.float32))
        zeros = np.full(np.shape(plan.scale), plan.zero, plan.values.dtype)
        zero = [self.constant(zeros)] if plan.zero or plan.zero_input else []
        axis = {"axis": plan.axis} if np.ndim(plan.scale) else {}
        if plan.form == "pair":
            x = self.node("QuantizeLinear", [self.constant(value), scale, self.constant(zeros)], **axis)
        else:
            x = self.constant(plan.values)
        if plan.form == "clip":
            x = self.node("Clip", [x, self.constant(np.int8(-127)), self.constant(np.int8(127))])
        return self.node("DequantizeLinear", [x, scale, *zero], **axis)

    def op(self, number: int, op: Op) -> None:
        """Write one operator, with constants and attributes as the operator set wants them."""
        opset, a = self.style.opset, dict(op.attributes)
        inputs = [self.read(number, position) for position in range(len(op.inputs))]
        kind = op.kind
        if kind in ("Conv", "Gemm", "MatMul"):
            inputs += [name for name in (self.stored(number, n) for n in ("weights", "bias")) if name]
        elif op.constants:
            operand = self.stored(number, "operand")
            inputs = [operand, *inputs] if a.pop("first") else [*inputs, operand]
        elif kind == "Clip":
            inputs += [self.constant(np.float32(a.pop(n))) for n in ("low", "high")]
        elif kind == "Pad":
            inputs += [self.constant(np.array(a.pop("pads"), np.int64))]
            inputs += [self.constant(np.float32(0))] * a.pop("named")
        elif kind == "Reshape":
            inputs += [self.constant(np.array(a.pop("sizes"), np.int64))]
        elif kind == "Slice":
            inputs += [self.constant(np.array(a.pop(n), np.int64)) for n in ("starts", "ends", "axes", "steps")]
        elif (kind in ("Squeeze", "Unsqueeze") and opset >= 13) or (kind == "ReduceMean" and opset >= 18):
            inputs += [self.constant(np.array(a.pop("axes"), np.int64))]
        elif kind == "Split":
            sizes = a.pop("sizes")
            if opset < 13:
                a["split"] = sizes
            elif len(set(sizes)) > 1 or opset < 18:
                inputs += [self.constant(np.array(sizes, np.int64))]
            else:
                a["num_outputs"] = len(sizes)
        elif kind in ("Softmax", "LogSoftmax") and opset < 13 and a["axis"] == -1:
            a["axis"] = len(self.graph.shapes[op.inputs[0]])
        self.node(kind, inputs, list(op.outputs), **a)
        for tensor in op.outputs:
            self.give(tensor)

    def write(self) -> bytes:
        batch = self.style.batch or "N"
        for tensor in self.graph.inputs:
            self.give(tensor)
        for number, op in enumerate(self.graph.ops):
            self.op(number, op)
        outputs = []
        for tensor in self.graph.outputs:
            name, kind = self.values[tensor], TensorProto.FLOAT
            if tensor in self.plan.quantised_outputs:
                name, kind = self._before(name)
            elif (self.graph.producer(tensor) or Op("", [], [])).kind == "ArgMax":
                kind = TensorProto.INT64
            if name in [o.name for o in outputs]:
                continue
            outputs.append(helper.make_tensor_value_info(name, kind, [batch, *self.graph.shapes[tensor]]))
        inputs = []
        for tensor in self.graph.inputs:
            quantised = tensor in self.plan.quantised_inputs
            kind = _TYPES[self.plan.pairs[tensor][0].dtype] if quantised else TensorProto.FLOAT
            inputs.append(helper.make_tensor_value_info(tensor, kind, [batch, *self.graph.shapes[tensor]]))
        nodes = list(self.nodes)
        if self.style.shuffled:
            np.random.default_rng(len(nodes)).shuffle(nodes)
        graph = helper.make_graph(nodes, "graph", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", self.style.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.style.ir).SerializeToString()

    def _before(self, name: str):
        """Return what the last DequantizeLinear reads, and its type."""
        reader = next(n for n in self.nodes if name in n.output)
        if reader.op_type != "DequantizeLinear" or reader.input[0] in self.graph.inputs:
            return name, TensorProto.FLOAT
        return reader.input[0], _TYPES[self.types[reader.input[0]]]


def write(graph: FloatGraph, plan: Plan, style: Style) -> bytes:
    """Return the bytes of the file."""
    return _Writer(graph, plan, style).write()
