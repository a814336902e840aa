"""Dumps of the compiler's stages: what each produced, as values for JSON and as text."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from etchnet.hdl.isa import Drain, Instruction, Pass
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.arrangement import Axis
from etchnet.host.compiler.fusion import FusionGroup
from etchnet.host.compiler.parts import Addition, Part
from etchnet.host.compiler.reshapes import sources_of
from etchnet.host.compiler.state import State
from etchnet.host.network.layers import Linear
from etchnet.host.network.network import INPUT
from etchnet.sim.timing import run_counts

__all__ = [
    "Dump",
    "allocated",
    "arranged",
    "as_text",
    "checked",
    "emitted",
    "fused",
    "lowered",
    "network",
    "ordered",
    "scheduled",
    "synchronised",
]

Dump = Mapping[str, Any]
"""Values by name. A list of dicts with equal keys is a table."""


def _by(numbers: Sequence[int]) -> str:
    return " x ".join(map(str, numbers))


def _tensor(state: State, tensor: int) -> int | str:
    """Return the name of a tensor: the index, in the source network, of the layer whose result it is, or an input."""
    if tensor >= 0:
        return state.origin[tensor]
    return "input" if len(state.network.input_shapes) == 1 else f"input {INPUT - tensor}"


def network(state: State) -> Dump:
    """Return the layers of the network as rewritten so far."""
    found = state.network
    layers = [
        {
            "layer": state.origin[index],
            "kind": type(layer).__name__,
            "reads": [_tensor(state, source) for source in sources],
            "result": _by(found.shapes[index]),
            "weights": _by(layer.weights.shape) if isinstance(layer, Linear) else None,
        }
        for index, (layer, sources) in enumerate(zip(found.layers, sources_of(found), strict=True))
    ]
    inputs = {str(_tensor(state, INPUT - k)): _by(shape) for k, shape in enumerate(found.input_shapes)}
    return inputs | {"outputs": [state.origin[output] for output in found.outputs], "layers": layers}


def _axis(axis: Axis) -> str:
    """Return the number of stored lines, the image lines of the first, and how far it is to those of the next."""
    return f"{axis.count} of ({', '.join(map(str, axis.offsets))}), {axis.step} apart"


def arranged(state: State) -> Dump:
    """Return the chosen im2col and arrangements: the lines and columns of the image in each stored pixel."""
    choice, shapes = state.choice, [*state.network.shapes, *reversed(state.network.input_shapes)]
    tensors = [
        {
            "tensor": _tensor(state, tensor),
            "lines": _axis(found.y),
            "columns": _axis(found.x),
            "shape": _by(found.shape(shapes[tensor][2])),
        }
        for tensor, found in sorted(choice.arrangements.items())
    ]
    return {"im2col": choice.im2col.name, "choices": len(state.choices), "tensors": tensors}


def _part(state: State, layer: int, part: Part) -> dict[str, Any]:
    region = part.region
    return {
        "layer": state.origin[layer],
        "first_pixel": f"{region.y}, {region.x}",
        "pixels": f"{region.height} x {region.width}",
        "channels": part.channels,
        "reads": [_tensor(state, operand.source) for operand in part.operands],
        "taps": [len(operand.taps) for operand in part.operands],
        "stride": _by(part.operands[0].stride),
        "fold": part.fold.name.lower(),
        "weights": "ones" if part.copies else "stored",
    }


def lowered(state: State) -> Dump:
    """Return the parts of each layer, and the additions."""
    parts, additions = [], []
    for layer, made in state.lowered.items():
        if isinstance(made, Addition):
            reads = [_tensor(state, operand.source) for operand in made.operands]
            additions.append({"layer": state.origin[layer], "reads": reads})
        else:
            parts += [_part(state, layer, part) for part in made]
    return {"in_place": [state.origin[i] for i in sorted(state.in_place)], "parts": parts, "additions": additions}


def _group(state: State, group: FusionGroup) -> dict[str, Any]:
    return {
        "layer": state.origin[group.layer],
        "result": state.origin[group.result],
        "kind": type(state.network.layers[group.layer]).__name__,
        "reads": [_tensor(state, source) for source in group.sources],
        "fused_addition": state.origin[group.addition.layer] if group.addition else None,
        "residual": _tensor(state, group.addition.residual) if group.addition else None,
        "parts": len(group.parts),
    }


def fused(state: State) -> Dump:
    """Return the fusion groups, in the order in which they are computed."""
    return {"groups": [_group(state, group) for group in state.groups]}


def allocated(state: State) -> Dump:
    """Return the address of every tensor."""
    memory = state.memory
    tensors: list[dict[str, Any]] = []
    stored = [("input" if tensor < 0 else "activation", tensor, layout) for tensor, layout in memory.layouts.items()]
    stored += [("output", tensor, layout) for tensor, layout in memory.outputs.items()]
    for name, tensor, layout in sorted(stored, key=lambda item: item[1]):
        tensors.append(
            {
                "tensor": _tensor(state, tensor),
                "memory": name,
                "shape": _by(layout.shape),
                "words_per_pixel": layout.words,
                "first_word": layout.base,
                "words": layout.size,
            }
        )
    for tensor, address in sorted(memory.residual.items()):
        tiles = ceil_div(memory.shapes[tensor][2], state.config.columns)
        tensors.append(
            {
                "tensor": _tensor(state, tensor),
                "memory": "residual",
                "shape": _by(memory.shapes[tensor]),
                "words_per_pixel": tiles,
                "first_word": address,
                "words": memory.images * memory.pixels(tensor) * tiles,
            }
        )
    return {
        "activation_words": memory.activation_words,
        "residual_words": memory.residual_words,
        "tensors": tensors,
    }


def ordered(state: State) -> Dump:
    """Return the order of the passes of each fusion group, and the cycles that the search found."""
    orders = [
        {"layer": state.origin[group.layer]} | dataclasses.asdict(order)
        for group, order in zip(state.groups, state.orders, strict=True)
    ]
    return {"cycles": state.cycles, "orders": orders}


def _value(instruction: Instruction, field: dataclasses.Field[Any]) -> Any:
    value = getattr(instruction, field.name)
    return bool(value) if field.type == "bool" else value.name.lower() if isinstance(value, enum.Enum) else value


def _instructions(
    instructions: Sequence[Pass] | Sequence[Drain], about: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return a row for each instruction, without the fields that have their default value in all instructions."""
    used = [
        field
        for field in dataclasses.fields(type(instructions[0]))
        if any(getattr(instruction, field.name) != field.default for instruction in instructions)
    ]
    return [
        dict(known) | {field.name: _value(instruction, field) for field in used}
        for known, instruction in zip(about, instructions, strict=True)
    ]


def _pass_rows(state: State) -> list[dict[str, Any]]:
    about = [{"pass": i} | dataclasses.asdict(label) for i, label in enumerate(state.code.labels)]
    return _instructions(state.code.passes, about)


def _drain_rows(state: State) -> list[dict[str, Any]]:
    about = [{"drain": i, "layer": write.layer if write else None} for i, write in enumerate(state.code.writes)]
    return _instructions(state.code.drains, about)


def emitted(state: State) -> Dump:
    """Return all passes and drains, and the sizes of the memories of constants."""
    code = state.code
    return {
        "weight_words": len(code.weights),
        "parameter_words": len(code.parameters),
        "passes": _pass_rows(state),
        "drains": _drain_rows(state),
    }


_FLAGS = "wait_input", "wait_output", "wait_weights", "release_input", "release_weights"


def synchronised(state: State) -> Dump:
    """Return the passes that wait for a link or release memory to it, and the drains that commit the output."""
    flagged = [
        {"pass": index, "layer": label.layer, "flags": flags}
        for index, (p, label) in enumerate(zip(state.code.passes, state.code.labels, strict=True))
        if (flags := [name for name in _FLAGS if getattr(p, name)])
    ]
    return {"commits": [index for index, d in enumerate(state.code.drains) if d.commit], "passes": flagged}


def scheduled(state: State) -> Dump:
    """Return the instructions with idle cycles, and the sums of these cycles."""
    code = state.code
    passes = [
        {"pass": i, "layer": label.layer, "idle": p.idle, "idle_requantise": p.idle_requantise}
        for i, (p, label) in enumerate(zip(code.passes, code.labels, strict=True))
        if p.idle or p.idle_requantise
    ]
    drains = [{"drain": i, "idle": d.idle} for i, d in enumerate(code.drains) if d.idle]
    return {
        "idle": sum(p.idle for p in code.passes),
        "idle_requantise": sum(p.idle_requantise for p in code.passes),
        "passes": passes,
        "drains": drains,
    }


def checked(state: State) -> Dump:
    """Return the size of the program, and the counters of one run that never waits for its links."""
    code, config = state.code, state.config
    counts = run_counts(code.passes, code.drains, config)
    return {
        "passes": len(code.passes),
        "bits_per_pass": Pass.layout(config).size,
        "drains": len(code.drains),
        "bits_per_drain": Drain.layout(config).size,
        "weight_words": len(code.weights),
        "parameter_words": len(code.parameters),
    } | {counter.name.lower(): count for counter, count in counts.items()}


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if value is None or isinstance(value, bool):
        return "yes" if value else ""
    return str(value)


def as_text(dump: Dump) -> str:
    """Return a dump as text: a line for each value, then the tables, with aligned columns."""
    lines = [f"{name}: {_cell(value) or 'none'}" for name, value in dump.items() if not _is_table(value)]
    for name, table in dump.items():
        if not _is_table(table):
            continue
        cells = [list(table[0]), *([_cell(value) for value in row.values()] for row in table)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        lines += ["", f"{name}: {len(table)}"]
        lines += ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)
