"""Estimate of a machine's area on an FPGA, from a linear model fitted to synthesised machines.

Logic cells and flip-flops are weighted sums of quantities of the machine, with one set of weights per device family.
The weights in `area.json` are non-negative and minimise the relative error over random machines;
`python tests/figures/area_figures.py` fits them. Multipliers and block RAMs are computed from the machine's parameters.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from etchnet.hdl.blocks.technology import Technology
from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.core.multipliers import MULTIPLIERS_PER_REQUANTISER, hard_elements
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import Drain, Pass
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.targets.boards import BOARDS, Board
from etchnet.hdl.targets.memory_sizes import BlockRams, memories

__all__ = ["ESTIMATED", "WEIGHTS", "Area", "board_summary", "eased", "estimate", "parts", "weights"]

WEIGHTS = Path(__file__).with_name("area.json")
ESTIMATED = ("logic cells", "flip-flops")
_BUFFERS = 2
"""block RAMs that the serial port's buffers use"""


@dataclass(frozen=True)
class Area:
    """Resources of a device that a machine and its serial port use; names are those of `BuildReport.used`."""

    used: Mapping[str, int]
    errors: Mapping[str, float]
    """largest relative error by resource, over machines that were not used in the fit"""

    def over(self, available: Mapping[str, int], *, surely: bool = True) -> list[str]:
        """Return a message for each resource that exceeds `available`.

        With `surely`, a resource counts as exceeded only if it is even at the low end of the estimate's error, without
        it if it is at the high end.
        """
        found = []
        for name, have in available.items():
            error = self.errors.get(name, 0.0)
            if self.used.get(name, 0) > have * (1 + error if surely else 1 - error):
                found.append(f"{'about ' if error else ''}{self.used[name]:,} {name}, of {have:,}")
        return found


def parts(config: Config, technology: Technology, blocks: BlockRams) -> dict[str, float]:
    """Return the quantities of a machine by name; `estimate` multiplies each with its weight."""
    hard = hard_elements(config, technology)
    delayed = (
        OutputStage.latency(config) * DrainWalk.group_layout(config).size
        + Machine.fold_delay(config) * Sequencer.fold_layout(config).size
        + Machine.read_latency(config) * Sequencer.pixel_layout(config).size
        + (config.rows - config.load_cycles + config.columns - 1 + WeightMemory.latency(config))
        * WeightMemory.request_layout(config).size
    )
    return {
        "machine": 1,
        "element with a multiplier": hard,
        "element without": config.multipliers - hard,
        "row": config.rows,
        "column": config.columns,
        "requantiser": config.requantisers,
        "bank of weights": config.weight_rows * config.columns,
        "bit of groups that wait for the last": (config.groups - 1) * config.requantisers * 32,
        "bit in delay lines": delayed,
        "bit of an instruction": Drain.streamed(config).size + Pass.layout(config).size,
        "column with residuals": config.columns if config.residual_words else 0,
        "row with line buffers": config.rows if config.depthwise else 0,
        "bit of small memories": sum(memory.small_bits(blocks) for memory in memories(config)),
    }


@cache
def weights() -> dict[str, dict[str, dict[str, float]]]:
    """Return the weight of each part by family and resource; the name `error` holds the largest relative error."""
    found: dict[str, dict[str, dict[str, float]]] = json.loads(WEIGHTS.read_text())["families"]
    return found


def estimate(config: Config, board: Board) -> Area:
    """Estimate the area of a machine on a board's device."""
    known, counted = weights()[board.device.family], parts(config, board.device.technology, board.device.blocks)
    used = {
        name: round(sum(known[name].get(part, 0.0) * count for part, count in counted.items())) for name in ESTIMATED
    }
    elements = ceil_div(hard_elements(config, board.device.technology), board.device.technology.products)
    used["multipliers"] = elements + MULTIPLIERS_PER_REQUANTISER * config.requantisers
    used["block RAMs"] = _BUFFERS + sum(memory.block_rams(board.device.blocks) for memory in memories(config))
    return Area(used, {name: known[name]["error"] for name in (*ESTIMATED, "block RAMs")})


def board_summary(config: Config) -> str:
    """Return a text that names the boards that a machine fits by estimate, or what the nearest one is short of."""
    over = {name: estimate(config, board).over(board.device.placeable) for name, board in BOARDS.items()}
    if fitting := [name for name, exceeded in over.items() if not exceeded]:
        return f"by estimate it fits {' and '.join(fitting)}"
    nearest = min(over, key=lambda name: (len(over[name]), -BOARDS[name].device.luts))
    return f"no board holds it: {nearest} would need {' and '.join(over[nearest])}"


_SIZES = ("drains", "parameter_tiles", "passes", "weight_tiles", "activation_words", "input_words", "output_words")
"""parameters that may exceed the needs of a program without any effect on its cycles"""


def eased(config: Config, board: Board, *, keep: Collection[str] = ()) -> Config:
    """Return a machine whose small memories are enlarged until they use block RAMs, if it would not fit otherwise.

    Parameters in `keep` do not change.

    Small memories are built from logic cells. While the estimate exceeds the board's logic cells or flip-flops and
    block RAMs are left, the memory whose move to block RAMs frees the most logic cells is enlarged.
    """
    while estimate(config, board).over(_logic(board), surely=False):
        free = (name for name in _SIZES if name not in keep)
        larger = [found for name in free if (found := _in_block_rams(config, name, board))]
        fitting = [c for c in larger if estimate(c, board).used["block RAMs"] <= board.device.block_rams]
        best = min(fitting, key=lambda c: estimate(c, board).used["logic cells"], default=config)
        if estimate(best, board).used["logic cells"] >= estimate(config, board).used["logic cells"]:
            break
        config = best
    return config


def _logic(board: Board) -> dict[str, int]:
    return {name: board.device.placeable[name] for name in ESTIMATED}


def _in_block_rams(config: Config, name: str, board: Board) -> Config | None:
    """Enlarge one parameter until a memory moves to block RAMs; return None if no memory does."""

    def small(c: Config) -> int:
        return sum(memory.small_bits(board.device.blocks) for memory in memories(c))

    value, before = getattr(config, name), small(config)
    for exponent in range(value.bit_length(), board.device.blocks.bits.bit_length() + 1):
        changed: dict[str, Any] = {name: 1 << exponent}
        larger = dataclasses.replace(config, **changed)
        if small(larger) < before:
            return larger
    return None
