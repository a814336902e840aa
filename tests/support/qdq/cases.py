"""Random quantised graphs as files, with inputs: one for each seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from support.qdq import placements, static
from support.qdq.graphs import FloatGraph, random_graph
from support.qdq.plans import Plan
from support.qdq.writer import Style, write

FAMILIES = {"quantize_static": 0.25, "tool": 0.27, "hand": 0.14, "doubled": 0.2, "rims": 0.14}
"""kinds of placement, and the share of each"""
_OPSETS = [11, 12, *range(13, 28)]


@dataclass(frozen=True)
class Case:
    """A file, and inputs by name, each (samples, *shape)."""

    seed: int
    family: str
    data: bytes
    inputs: dict[str, np.ndarray]


def plain_session(data: bytes) -> onnxruntime.InferenceSession:
    """Return a session that runs the file's operators one by one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def measure(g: FloatGraph, style: Style, feeds: dict[str, np.ndarray]) -> placements.Ranges:
    """Return the least and greatest value of every tensor."""
    model = onnx.load_from_string(write(g, Plan(), style))
    names = [t for op in g.ops for t in op.outputs if op.kind != "ArgMax"]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, None) for t in names)
    results = plain_session(model.SerializeToString()).run(names, feeds) if names else []
    return {t: (float(v.min()), float(v.max())) for t, v in [*feeds.items(), *zip(names, results, strict=True)]}


def random_style(random: np.random.Generator) -> Style:
    return Style(
        opset=int(random.choice(_OPSETS)),
        batch=None if random.random() < 0.5 else int(random.choice([1, 1, 1, 2])),
        shared=bool(random.random() < 0.4),
        nodes=bool(random.random() < 0.2),
        shuffled=bool(random.random() < 0.15),
    )


def make_case(seed: int) -> Case:
    """Return the case of a seed."""
    random = np.random.default_rng([20, seed])
    g, style = random_graph(random), random_style(random)
    family = str(random.choice(list(FAMILIES), p=list(FAMILIES.values())))
    if family == "quantize_static":
        style = Style(opset=max(style.opset, 13), batch=style.batch)
    spread = float(np.exp(random.uniform(-2, 2)))
    calibration = {
        t: random.normal(size=(style.batch or 2, *g.shapes[t])).astype(np.float32) * spread for t in g.inputs
    }
    if random.random() < 0.3:
        calibration = {t: np.abs(v) for t, v in calibration.items()}
    if family == "quantize_static":
        data = static.quantise(write(g, Plan(), style), [calibration], *static.random_settings(random))
    else:
        plan = make_plan(random, g, measure(g, style, calibration), family)
        if style.opset < 13:
            _before_13(plan)
        data = write(g, plan, style)
    return Case(seed, family, data, random_inputs(random, data, calibration, style.batch))


def make_plan(random: np.random.Generator, g: FloatGraph, ranges: placements.Ranges, family: str) -> Plan:
    """Return a plan of one kind of placement, rarely of two."""
    wild = float(random.choice([0, 0, 0.1, 0.4]))
    plan = placements.tool_plan(random, g, ranges, wild=wild)
    for name in ("hand", "rims", "doubled"):
        if family == name or (family != "tool" and random.random() < 0.1):
            getattr(placements, name)(random, g, plan)
    placements.biases(random, g, plan, wild=wild)
    return plan


def _before_13(plan: Plan) -> None:
    """Give constants one scale and leave out clips of int8, as operator sets before 13 want."""
    for at, stored in plan.constants.items():
        form = "stored" if stored.form == "clip" else stored.form
        plan.constants[at] = replace(stored, scale=stored.scale.max(), form=form)
    for pairs in (*plan.pairs.values(), *plan.edges.values()):
        pairs[:] = [replace(pair, limits=None) for pair in pairs]


def input_pair(data: bytes, name: str) -> tuple[float, int] | None:
    """Return scale and zero point of the QuantizeLinear that reads an input."""
    graph = onnx.load_from_string(data).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == name and node.input[1] in constants:
            zero = constants.get(node.input[2]) if len(node.input) > 2 else None
            return float(constants[node.input[1]]), 0 if zero is None else int(zero)
    return None


def random_inputs(
    random: np.random.Generator, data: bytes, calibration: dict[str, np.ndarray], batch: int | None
) -> dict[str, np.ndarray]:
    """Return inputs like those of the calibration, and extremes: saturation, ties, zeros of both signs."""
    types = {"tensor(int8)": np.int8, "tensor(uint8)": np.uint8, "tensor(int16)": np.int16, "tensor(uint16)": np.uint16}
    samples, inputs = (batch or 1) * 4, {}
    for port in plain_session(data).get_inputs():
        like = calibration[port.name]
        shape = (samples, *like.shape[1:])
        if port.type in types:
            limits = np.iinfo(types[port.type])
            inputs[port.name] = random.integers(limits.min, limits.max + 1, shape).astype(limits.dtype)
            continue
        x = random.normal(size=shape) * like.std()
        extreme = random.random(shape)
        x[extreme < 0.1] *= 20
        x[(extreme > 0.95) & (random.random() < 0.3)] = 1e30
        pair = input_pair(data, port.name)
        if pair:
            ties = (random.integers(-140, 140, shape) + 0.5) * np.float32(pair[0])
            x = np.where((extreme > 0.6) & (extreme < 0.85), ties, x)
        x[(extreme > 0.85) & (extreme < 0.93)] = 0
        x[(extreme > 0.93) & (extreme < 0.95)] = -0.0
        inputs[port.name] = x.astype(np.float32)
    return inputs
