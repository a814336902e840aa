"""Makes a failing file smaller: cuts at tensors, bypasses operators and drops outputs while it still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from support.qdq.compare import Outcome, compare

Inputs = dict[str, np.ndarray]


def _typed(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Return the type and shape of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {v.name: v for v in [*graph.input, *graph.value_info, *graph.output]}


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop operators and constants that no output needs."""
    graph, needed = model.graph, {o.name for o in model.graph.output}
    while True:
        more = {i for n in graph.node if needed.intersection(n.output) for i in n.input} - needed
        if not more:
            break
        needed |= more
    nodes = [n for n in graph.node if needed.intersection(n.output)]
    constants = [t for t in graph.initializer if t.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    return model


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _smaller(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """Yield candidates with fewer outputs or operators."""
    for index in range(len(model.graph.output)):
        if len(model.graph.output) > 1:
            candidate = _copy(model)
            del candidate.graph.output[index]
            yield _cleaned(candidate)
    types = _typed(model)
    for node in model.graph.node:  # end at an earlier tensor
        if node.output[0] in types and node.op_type != "Constant":
            candidate = _copy(model)
            del candidate.graph.output[:]
            candidate.graph.output.append(types[node.output[0]])
            yield _cleaned(candidate)
    constants = {t.name for t in model.graph.initializer} | {i.name for i in model.graph.input}
    for index, node in enumerate(model.graph.node):  # without one operator
        for source in node.input:
            a, b = types.get(source), types.get(node.output[0])
            if a is None or b is None or source in constants - {i.name for i in model.graph.input}:
                continue
            if a.type == b.type:
                candidate = _copy(model)
                del candidate.graph.node[index]
                for other in candidate.graph.node:
                    other.input[:] = [source if name == node.output[0] else name for name in other.input]
                if node.output[0] not in {o.name for o in candidate.graph.output}:
                    yield _cleaned(candidate)


def shrink(data: bytes, inputs: Inputs, fails: Callable[[bytes, Inputs], bool]) -> tuple[bytes, Inputs]:
    """Return the smallest file and inputs found that still fail."""
    model = onnx.load_from_string(data)
    improved = True
    while improved:
        improved = False
        for candidate in sorted(_smaller(model), key=lambda m: len(m.graph.node)):
            if candidate.ByteSize() >= model.ByteSize():
                continue
            kept = {i.name for i in candidate.graph.input}
            if fails(candidate.SerializeToString(), {n: x for n, x in inputs.items() if n in kept}):
                model, improved = candidate, True
                break
    return model.SerializeToString(), inputs


def listing(data: bytes) -> str:
    """Return the operators of a file, one per line, with small constants as numbers."""
    model = onnx.load_from_string(data)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)

    def text(name: str) -> str:
        value = constants.get(name)
        if value is None:
            return name
        return f"{value.dtype}{list(value.shape)}" + (f" {value.tolist()!r}" if value.size <= 4 else "")

    lines = [f"operator set {max(o.version for o in model.opset_import if not o.domain)}"]
    for port in [*model.graph.input, *model.graph.output]:
        sizes = [d.dim_param or d.dim_value for d in port.type.tensor_type.shape.dim]
        lines.append(f"{port.name}: {onnx.TensorProto.DataType.Name(port.type.tensor_type.elem_type)} {sizes}")
    for node in model.graph.node:
        if node.op_type != "Constant":
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            lines.append(f"{', '.join(node.output)} = {node.op_type}({', '.join(map(text, node.input))}) {attributes}")
    return "\n".join(lines)


def save_case(folder: Path, name: str, data: bytes, inputs: Inputs, outcome: Outcome, *, machine: bool) -> None:
    """Write a failing case, shrunk, as NAME.onnx, NAME.npz and NAME.txt."""

    def fails(candidate: bytes, values: Inputs) -> bool:
        return compare(candidate, values, machine=machine).kind == outcome.kind

    small, values = shrink(data, inputs, fails)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(small)
    np.savez(folder / f"{name}.npz", **values)
    found = compare(small, values, machine=machine)
    text = f"{outcome.kind}: {outcome.detail}\nshrunk: {found.detail}\n{listing(small)}\n"
    (folder / f"{name}.txt").write_text(text)
