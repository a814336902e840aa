"""Random float32 graphs of a few operators, before anything quantises them.

A graph names its tensors. Shapes are without the batch: (channels, y, x), (channels, x) or (channels,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Op:
    """One operator: the tensors that it reads and writes, its attributes, and its constants by name.

    `constants` holds float32 arrays: "weights", "bias" and "operand".
    """

    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class FloatGraph:
    """Operators in an order in which each reads only results of earlier ones."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    def add_input(self, shape: tuple[int, ...]) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        self.shapes[name] = shape
        return name

    def add(self, kind: str, inputs: list[str], shapes: list[tuple[int, ...]], constants=None, **attributes) -> str:
        """Append an operator with results of these shapes; returns the name of the first."""
        outputs = [f"t{len(self.shapes) + i}" for i in range(len(shapes))]
        self.shapes.update(zip(outputs, shapes, strict=True))
        self.ops.append(Op(kind, inputs, outputs, attributes, constants or {}))
        return outputs[0]

    def readers(self, tensor: str) -> list[Op]:
        return [op for op in self.ops if tensor in op.inputs]

    def producer(self, tensor: str) -> Op | None:
        return next((op for op in self.ops if tensor in op.outputs), None)

    def finish(self, random: np.random.Generator) -> None:
        """Choose outputs: results that nothing reads, and rarely another; drop what no output needs."""
        unread = [t for op in self.ops for t in op.outputs if not self.readers(t)]
        newest = [unread[-1]] + [t for t in unread[:-1] if random.random() < 0.5]
        others = [t for op in self.ops[:-1] for t in op.outputs if t not in unread]
        if others and random.random() < 0.05:
            newest.append(str(random.choice(others)))
        self.outputs = newest[:4]
        needed = set(self.outputs)
        for op in reversed(self.ops):
            if needed.intersection(op.outputs):
                needed.update(op.inputs)
        self.ops = [op for op in self.ops if needed.intersection(op.outputs)]
        self.inputs = [name for name in self.inputs if name in needed]


def weights(random: np.random.Generator, shape: tuple[int, ...], terms: int) -> np.ndarray:
    """Return weights under which sums have about the size of the inputs; sometimes with dead or loud channels."""
    values = random.normal(size=shape) / math.sqrt(terms)
    if random.random() < 0.1:
        values[random.integers(shape[0])] = 0
    if random.random() < 0.1:
        values *= np.exp(random.uniform(-4, 4, (shape[0],) + (1,) * (len(shape) - 1)))
    return values.astype(np.float32)


def windows(random, sizes, *, largest=3, pads=True, dilations=False, beyond=0):
    """Return (kernel, strides, pads, dilations, result sizes) for spatial sizes; `beyond`: pads larger than windows."""
    rank = len(sizes)
    kernel = [int(random.integers(1, min(largest, n) + 1)) for n in sizes]
    dilation = [
        int(random.integers(1, 3)) if dilations and (k - 1) * 2 < n else 1 for k, n in zip(kernel, sizes, strict=True)
    ]
    strides = [int(n) for n in random.choice([1, 1, 1, 2, 3], rank)]
    padding = [0] * 2 * rank
    if pads and random.random() < 0.6:
        same = random.random() < 0.6
        padding = [(k - 1) // 2 if same else int(random.integers(0, k + beyond)) for k in (*kernel, *kernel)]
    result = [
        (n + padding[i] + padding[i + rank] - (k - 1) * d - 1) // s + 1
        for i, (n, k, d, s) in enumerate(zip(sizes, kernel, dilation, strides, strict=True))
    ]
    return kernel, strides, padding, dilation, result


def random_graph(random: np.random.Generator, *, most: int = 12) -> FloatGraph:
    """Return a graph of 1 to `most` operators over images, lines or vectors."""
    from support.qdq.operators import HOST_LAST, LAST, OPERATORS, SHARES, turned

    g = FloatGraph()
    rank = int(random.choice([3, 3, 3, 3, 2, 1]))
    sizes = [int(n) for n in random.integers(1, 9, rank - 1)]
    shape = (int(random.integers(1, 9)), *sizes) if rank > 1 else (int(random.integers(1, 33)),)
    at = g.add_input(shape)
    if rank > 1 and random.random() < 0.05:
        at = turned(g, at, [rank - 1, *range(rank - 1)])
    while random.random() < 0.12 and len(g.inputs) < 3:
        g.add_input(shape if random.random() < 0.7 else (int(random.integers(1, 9)), *shape[1:]))
    goal = 1 + int(random.integers(0, most) * random.random() ** 0.5)
    kinds = list(OPERATORS)
    tries = 0
    while len(g.ops) < goal and tries < 40:
        tries += 1
        last = len(g.ops) == goal - 1
        pool = [t for t in g.shapes if t not in g.inputs or t == at or not g.readers(t)]
        source = at if random.random() < 0.85 else str(random.choice(pool))
        if last and random.random() < 0.25:
            kind = str(random.choice(LAST))
            result = HOST_LAST[kind](g, random, source)
        else:
            kind = str(random.choice(kinds, p=SHARES))
            result = OPERATORS[kind](g, random, source)
        at = result or at
    if not any(op.kind in ("Conv", "Gemm", "MatMul", "Add") for op in g.ops) and random.random() < 0.9:
        last = g.ops[-1].outputs[0] if g.ops and g.ops[-1].kind not in HOST_LAST else g.inputs[0]
        (OPERATORS["conv"](g, random, last) or OPERATORS["gemm"](g, random, last))
    elif not g.ops:
        OPERATORS["relu"](g, random, at)
    g.finish(random)
    return g
