"""The manifest: parameters, ports and memory map of a machine, for tools that read its Verilog."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from amaranth import __version__ as amaranth_version
from amaranth.hdl import Value
from amaranth.lib import wiring

from etchnet.hdl.blocks.hierarchy import port_name
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import (
    COUNTER_BITS,
    Counter,
    Drain,
    Header,
    Parameters,
    Pass,
    RunCommand,
    Target,
    chunks,
    word_bits,
)
from etchnet.hdl.isa.config import Config

__all__ = ["TOP", "manifest"]

TOP = "etchnet"
"""the name of the machine's module"""


def manifest(
    config: Config,
    *,
    top: wiring.Component | None = None,
    name: str = TOP,
    contents: Sequence[str] = (),
    run: RunCommand | None = None,
    clocked: bool = True,
) -> dict[str, Any]:
    """Return parameters, ports and memory map of a machine, as written to `etchnet.json`.

    Parameters
    ----------
    config
        The machine.
    top, name
        The top component, the machine itself by default, and the name of its module; its ports are described.
    contents
        Names of the files with initial contents of memories.
    run
        The command that starts the program that is in the memories.
    clocked
        Whether the module has the ports `clk` and `rst`; if not, clock and reset are among the ports of `top`.
    """
    top = top or Machine(config)
    clock = {
        "clk": {"direction": "input", "width": 1},
        "rst": {"direction": "input", "width": 1, "note": "synchronous, active high"},
    }
    depths = {
        Target.PASSES: config.passes,
        Target.DRAINS: config.drains,
        Target.PARAMETERS: config.parameter_words,
        Target.WEIGHTS: config.weight_words,
        Target.INPUT: config.input_words,
    }

    def fields(layout: Any) -> dict[str, list[int]]:
        # Amaranth keeps the type of a width, and that of a field which not every machine has may be a bool.
        return {str(name): [int(f.offset), int(f.width)] for name, f in layout}

    return {
        "generator": {"amaranth": amaranth_version},
        "top": name,
        "parameters": config.to_dict(),
        "ports": {
            **(clock if clocked else {}),
            **{
                port_name(path): {
                    "direction": "input" if member.flow is wiring.In else "output",
                    "width": len(Value.cast(value)),
                }
                for path, member, value in top.signature.flatten(top)
            },
        },
        "packet": {
            "header": fields(Header.layout(config)),
            "targets": {t.name.lower(): int(t) for t in Target},
            "note": "fields as [first bit, bits]; the second link word is the number of memory words that follow",
        },
        "memories": {
            target.name.lower(): {
                "words": depth,
                "bits": word_bits(target, config),
                "link_words_per_word": chunks(word_bits(target, config), config),
            }
            for target, depth in depths.items()
        },
        "instructions": {
            "pass": fields(Pass.layout(config)),
            "drain": fields(Drain.layout(config)),
            "parameters": fields(Parameters.layout(config)),
        },
        "counters": {"names": [c.name.lower() for c in Counter], "bits": COUNTER_BITS},
        "contents": list(contents),
        "run": None if run is None else dataclasses.asdict(run),
    }
