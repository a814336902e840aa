"""Random plans: as tools place pairs, as hands do, with doubled pairs, with ends in float."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.qdq.graphs import FloatGraph, Op
from support.qdq.plans import Pair, Plan, Stored, asymmetric, hostile, near, quantise_constant, symmetric

PRODUCTS = ("Conv", "Gemm", "MatMul")
COMPUTES = (*PRODUCTS, "Add", "Mul", "GlobalAveragePool", "AveragePool", "Concat", "Softmax", "LogSoftmax")
_SAME = ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Pad", "Identity")
_CLAMPS = ("Relu", "Clip")
_LAST = {"Softmax": (1 / 256, -128), "Sigmoid": (1 / 256, -128), "Tanh": (1 / 128, 0)}
_KEPT = {"Conv": 0.9, "Add": 0.9, "Mul": 0.9, "AveragePool": 0.9, "GlobalAveragePool": 0.9, "Concat": 0.9, "Gemm": 0.3}
"""how often a last operator that is no rim keeps its pair"""

Ranges = dict[str, tuple[float, float]]


def tool_plan(random: np.random.Generator, g: FloatGraph, ranges: Ranges, *, wild: float) -> Plan:
    """Place one pair after each tensor, with the fusions that tools know; a share `wild` of scales is hostile."""
    plan, symmetric_scales = Plan(), random.random() < 0.35
    choose = symmetric if symmetric_scales else asymmetric
    restricted = symmetric_scales and random.random() < 0.3
    zero_input = random.random() < 0.94
    for tensor in [*g.inputs, *(t for op in g.ops for t in op.outputs)]:
        if tensor not in ranges:  # whole numbers
            continue
        producer, readers = g.producer(tensor), g.readers(tensor)
        kind = producer.kind if producer else ""
        fused = [op.kind for op in readers] in (["Relu"], ["Clip"]) and kind in (*PRODUCTS, "Add")
        bias = kind == "MatMul" and len(readers) == 1 and readers[0].kind == "Add" and readers[0].constants
        bias = bias and (len(g.shapes[tensor]) == 1 or random.random() < 0.2)
        if tensor not in g.outputs and (bias or (fused and not symmetric_scales)):
            continue
        scale, zero = choose(*ranges[tensor])
        if kind in _LAST and random.random() < 0.8:
            scale, zero = np.float32(_LAST[kind][0]), _LAST[kind][1]
        if random.random() < wild:
            scale, other = hostile(random, scale, zero)
            zero = zero if kind in _CLAMPS and random.random() < 0.9 else other
        pair = Pair(scale, zero, limits=(-127, 127) if restricted else None, zero_input=zero_input)
        if kind in _SAME and plan.pairs.get(producer.inputs[0]) and random.random() < 0.9:
            pair = plan.pairs[producer.inputs[0]][-1]
        plan.pairs[tensor] = [pair]
    if random.random() < 0.1:
        plan.dedicated = {(i, k) for i, op in enumerate(g.ops) for k in range(len(op.inputs))}
    _constants(random, g, plan, ranges, wild)
    _ends(random, g, plan)
    return plan


def _ends(random, g: FloatGraph, plan: Plan) -> None:
    """Quantised inputs and outputs, in int8 mostly."""
    if random.random() < 0.15:
        plan.quantised_inputs = {t for t in g.inputs if plan.pairs.get(t)}
    if random.random() < 0.2:
        plan.quantised_outputs = {t for t in g.outputs if plan.pairs.get(t)}
    if random.random() < 0.05:
        for tensor in plan.quantised_inputs | plan.quantised_outputs:
            pair = plan.pairs[tensor][-1]
            unsigned = Pair(pair.scale, pair.zero + 128, np.uint8)
            at_input = tensor in g.inputs
            plan.pairs[tensor] = [unsigned, pair] if at_input else [pair, unsigned]


def _constants(random, g: FloatGraph, plan: Plan, ranges: Ranges, wild: float) -> None:
    per_channel = random.random() < 0.5
    form = str(random.choice(["stored", "stored", "stored", "pair", "clip"]))
    zero_input = random.random() < 0.95
    no_operands = random.random() < 0.05
    for number, op in enumerate(g.ops):
        if op.kind in PRODUCTS:
            axis = 0 if op.kind == "Conv" or op.attributes.get("transB") else 1
            plan.constants[number, "weights"] = _weights(
                random, op.constants["weights"], axis, per_channel, form, wild, zero_input
            )
        elif "operand" in op.constants:
            values = op.constants["operand"]
            after_product = g.producer(op.inputs[0]) is not None and op.inputs[0] not in plan.pairs
            if after_product or (no_operands and random.random() < 0.5):
                continue
            scale, zero = (symmetric if random.random() < 0.5 else asymmetric)(float(values.min()), float(values.max()))
            if random.random() < wild:
                scale, zero = hostile(random, scale, zero)
            with np.errstate(over="ignore"):
                stored = np.clip(np.rint(values / np.float64(scale)) + zero, -128, 127).astype(np.int8)
            shape = "pair" if random.random() < 0.3 else "stored"
            plan.constants[number, "operand"] = Stored(stored, np.asarray(scale), 0, shape, zero)


def _weights(random, values, axis, per_channel, form, wild, zero_input) -> Stored:
    others = tuple(i for i in range(values.ndim) if i != axis)
    most = np.abs(values).max(axis=others if per_channel else None)
    dead = float(random.choice([1.0, 1e-8, 1e-8, 0.0, 1e-39])) if random.random() < 0.5 else 1e-3
    scale = np.where(most > 0, most / 127, dead).astype(np.float32)
    if random.random() < wild:
        scale = (2.0 ** np.round(np.log2(np.maximum(scale, 1e-30)))).astype(np.float32)
    if not per_channel:
        scale = np.asarray(max(scale, np.float32(1e-20)))
    low = -127 if form == "clip" or random.random() < 0.7 else -128
    return Stored(quantise_constant(values, scale, axis, low=low), scale, axis, form, zero_input=zero_input)


def biases(random: np.random.Generator, g: FloatGraph, plan: Plan, *, wild: float) -> None:
    """Quantise the biases of a plan whose pairs are final, or leave them in float."""
    if random.random() < 0.25:
        return
    for number, op in enumerate(g.ops):
        if "bias" in op.constants:
            plan.constants[number, "bias"] = _bias(random, plan, number, op, wild)


def _bias(random, plan: Plan, number: int, op: Op, wild: float) -> Stored:
    """Int32 whose scale is that of the input times that of the weights; sometimes another scale."""
    pairs = plan.edges.get((number, 0)) or plan.pairs.get(op.inputs[0])
    weights = plan.constants[number, "weights"].scale
    exact = np.asarray((pairs[-1].scale if pairs else np.float32(0.05)) * weights, np.float32)
    scale = exact
    if random.random() < 0.01:
        scale = np.asarray(exact * np.float32(random.choice([2, 0.5, 1 + 2**-22, 1.7])), np.float32)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        values = np.nan_to_num(op.constants["bias"] / scale.astype(np.float64), posinf=1e6, neginf=-1e6)
    if random.random() < wild:
        values = values * 20
    stored = np.clip(np.rint(values), -(2**30), 2**30).astype(np.int32)
    return Stored(stored, scale, 0, zero_input=bool(random.random() < 0.8))


def hand(random: np.random.Generator, g: FloatGraph, plan: Plan) -> None:
    """Move a pair behind the operator that follows, leave one out, or give one other numbers."""
    for _ in range(int(random.integers(1, 4))):
        kind = random.choice(["behind", "behind", "behind", "behind", "scale", "scale", "missing", "products", "edge"])
        tensors = [t for t in plan.pairs if t not in g.inputs and t not in g.outputs]
        if kind == "behind":
            tensors = [t for t in tensors if [op.kind in (*_SAME, *_CLAMPS) for op in g.readers(t)] == [True]]
        if kind == "products" and random.random() < 0.1:
            keep = {t for op in g.ops if op.kind in PRODUCTS for t in (*op.inputs, *op.outputs)}
            plan.pairs = {t: pairs for t, pairs in plan.pairs.items() if t in keep or t in g.inputs or t in g.outputs}
        elif kind == "scale":
            tensor = str(random.choice(list(plan.pairs)))
            producer = g.producer(tensor)
            if producer and producer.kind in _CLAMPS and random.random() < 0.7:
                continue
            plan.pairs[tensor] = [*plan.pairs[tensor][:-1], near(random, plan.pairs[tensor][-1])]
        elif kind == "edge":
            number = int(random.integers(len(g.ops)))
            pairs = plan.pairs.get(g.ops[number].inputs[0])
            if pairs:
                plan.edges[number, 0] = [near(random, pairs[-1])]
        elif tensors and (kind == "behind" or random.random() < 0.15):
            tensor = str(random.choice(tensors))
            (after,) = g.readers(tensor) if kind == "behind" else (None,)
            then = plan.pairs.get(after.outputs[0]) if after else None
            if then and after.kind in _CLAMPS and then[-1].zero > -128 and random.random() < 0.8:
                continue  # the range of the result does not imply the clamp
            if after and random.random() < (0.15 if after.kind in _CLAMPS else 0.5):
                plan.pairs[after.outputs[0]] = [*plan.pairs[tensor]]
            del plan.pairs[tensor]
    _keep_ends(plan)


def doubled(random: np.random.Generator, g: FloatGraph, plan: Plan) -> None:
    """Write second and third pairs, equal or other, after tensors or before readers."""
    for _ in range(int(random.integers(1, 5))):
        if not plan.pairs:
            return
        tensor = str(random.choice(list(plan.pairs)))
        pairs = plan.pairs[tensor]
        pair = replace(pairs[-1], limits=None) if random.random() < 0.35 else near(random, pairs[-1])
        # Another scale before a bias makes the runtime compute in float, another range after a clamp mostly does.
        if any("bias" in op.constants for op in g.readers(tensor)) and random.random() < 0.7:
            pair = replace(pair, scale=pairs[-1].scale)
        if (g.producer(tensor) or Op("", [], [])).kind in _CLAMPS and random.random() < 0.7:
            pair = replace(pair, zero=pairs[-1].zero)
        readers = [(i, k) for i, op in enumerate(g.ops) for k, t in enumerate(op.inputs) if t == tensor]
        if readers and random.random() < 0.4:
            at = readers[int(random.integers(len(readers)))]
            plan.edges[at] = [*plan.edges.get(at, []), pair]
        elif random.random() < 0.7 or tensor in plan.quantised_inputs:
            plan.pairs[tensor] = [*pairs, pair]
        else:
            plan.pairs[tensor] = [pair, *pairs]


def rims(random: np.random.Generator, g: FloatGraph, plan: Plan) -> None:
    """Leave the first or the last operators in float."""
    if random.random() < 0.6:
        edge = list(g.inputs)
        while edge:
            tensor = edge.pop()
            readers = g.readers(tensor)
            if any(op.kind in COMPUTES for op in readers) and random.random() < 0.97:
                continue
            plan.pairs.pop(tensor, None)
            edge += [t for op in readers if op.kind not in COMPUTES for t in op.outputs]
    else:
        edge = list(g.outputs)
        while edge:
            tensor = edge.pop()
            producer = g.producer(tensor)
            fused = producer and producer.kind in _CLAMPS and producer.inputs[0] not in plan.pairs
            if producer is None or random.random() < (0.9 if fused else _KEPT.get(producer.kind, 0)):
                continue
            plan.pairs.pop(tensor, None)
            edge += producer.inputs if producer.kind not in COMPUTES else []
    _keep_ends(plan)


def _keep_ends(plan: Plan) -> None:
    plan.quantised_inputs &= {t for t, pairs in plan.pairs.items() if pairs}
    plan.quantised_outputs &= {t for t, pairs in plan.pairs.items() if pairs}
