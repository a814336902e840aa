"""The weights with which `etchnet size` estimates areas, and the table of docs/sizing.md, from synthesis.

``python tests/figures/area_figures.py FOLDER [FAMILY ...]`` synthesises random machines for every board and packs them.
FOLDER keeps a line for each machine, which is not synthesised again. Then the script writes ``host/data/area.json`` and
the page. Needs the extra "fpga"; a machine takes a quarter of a minute to two, all of them an hour.
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from etchnet.hdl.blocks.technology import Ecp5
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import BOARDS, Board
from etchnet.hdl.targets.memory_sizes import memories
from etchnet.host.fpga.build import needs
from etchnet.host.fpga.request import BuildRequest
from etchnet.host.fpga.resources import DoesNotFitError
from etchnet.host.reports.area import ESTIMATED, WEIGHTS, estimate, parts
from etchnet.host.tools.yosys import yosys_version

PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"
TABLE = re.compile(r"(<!-- areas -->\n)(.*?)(<!-- end of areas -->)", re.DOTALL)
MACHINES = {"ice40": 60, "gowin": 60, "ecp5": 30}
"""machines to try for each family; some have parameters that exclude each other"""
_LARGEST = {"ice40": 4, "gowin": 6, "ecp5": 8}
"""the most rows and columns for each family"""
_LARGER = {"ice40": 0, "gowin": 2, "ecp5": 4}
"""binary digits by which memories may be larger than those of the smallest device"""


def divisors(whole: int) -> list[int]:
    """Return all divisors of a number."""
    return [d for d in range(1, whole + 1) if whole % d == 0]


def machine(board: Board, seed: int) -> BuildRequest | None:
    """Return a random machine on a device with room for it; None where its parameters exclude each other."""
    family, chosen = board.device.family, random.Random(f"{board.device.family}{seed}")

    def power(low: int, high: int) -> int:
        return 1 << chosen.randint(low, high)

    rows, more = chosen.randint(1, _LARGEST[family]), _LARGER[family]
    columns = chosen.choice([c for c in range(1, _LARGEST[family] + 1) if c <= 2 * rows and rows <= 2 * c])
    square = rows == columns
    values: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "weight_rows": chosen.choice(divisors(rows)),
        "requantisers": chosen.choice(divisors(columns)),
        "weight_tiles": power(3, 6 + more),
        "activation_words": power(4, 9 + more),
        "input_words": power(4, 7 + more),
        "output_words": power(4, 7 + more),
        "accumulator_rows": power(3, 6 + more),
        "passes": power(4, 7 + more),
        "drains": power(3, 6),
        "parameter_tiles": power(0, 4),
        "residual_words": power(4, 7 + more) if square and chosen.random() < 0.5 else 0,
        "depthwise": 3 if square and rows >= 3 and chosen.random() < 0.4 else 0,
    }
    if values["depthwise"]:
        values["line_words"] = power(5, 7 + more)
    values |= {name: value for name, value in board.machine.items() if name.endswith("_latency")}
    # Some of the elements have no multiplier.
    technology = Ecp5(chosen.choice([16, 40, 156])) if family == "ecp5" else board.device.technology
    device = dataclasses.replace(board.device, technology=technology, luts=10**7, flip_flops=10**7, block_rams=10**5)
    large = dataclasses.replace(board, device=device)
    try:
        return BuildRequest(large, Config(**values))
    except ValueError:
        return None


def synthesise(board: Board, folder: Path) -> list[dict[str, Any]]:
    """Return every machine of a family as `{"seed": ..., "used": ...}`, synthesised now unless the folder has it."""
    path = folder / f"{board.device.family}.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for seed in range(MACHINES[board.device.family]):
        what = machine(board, seed)
        if what is None or any(entry["seed"] == seed for entry in found):
            continue
        with tempfile.TemporaryDirectory() as name:
            try:
                used = needs(what, Path(name))
            except DoesNotFitError:  # more multipliers than the device has, which no setting raises
                used = {}
        found.append({"seed": seed, "used": used})
        with path.open("a") as lines:
            lines.write(json.dumps(found[-1]) + "\n")
        print(board.device.family, seed, what.config.rows, what.config.columns, used, flush=True)
    return [entry for entry in found if entry["used"]]


def fit(matrix: np.ndarray, rounds: int = 1000) -> np.ndarray:
    """Return non-negative weights whose products with the rows are closest to 1, found one weight at a time."""
    square, right = matrix.T @ matrix, matrix.sum(axis=0)
    found = np.zeros(len(right))
    for _ in range(rounds):
        for index in np.flatnonzero(np.diag(square)):
            found[index] = max(0.0, found[index] + (right[index] - square[index] @ found) / square[index, index])
    return found


def weigh(board: Board, machines: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the weights of a family by resource and part, with the largest error over machines left out of the fit."""
    builds = [machine(board, entry["seed"]) for entry in machines]
    counted = [parts(b.config, b.board.device.technology, board.device.blocks) for b in builds if b]
    names = list(counted[0])
    matrix = np.array([[c[name] for name in names] for c in counted], dtype=np.float64)
    size = np.maximum(matrix.max(axis=0), 1)
    found: dict[str, dict[str, float]] = {}
    for what in ESTIMATED:
        target = np.array([entry["used"][what] for entry in machines], dtype=np.float64)
        scaled = matrix / size / target[:, None]
        errors = []
        for index in range(len(target)):
            others = np.delete(scaled, index, axis=0)
            errors.append(abs(scaled[index] @ fit(others) - 1))
        weights = fit(scaled) / size
        found[what] = {name: round(float(w), 2) for name, w in zip(names, weights, strict=True)}
        found[what]["error"] = round(float(max(errors)), 3)
    rams = [
        (entry["used"]["block RAMs"], 2 + sum(m.block_rams(board.device.blocks) for m in memories(b.config)))
        for entry, b in zip(machines, builds, strict=True)
        if b
    ]
    found["block RAMs"] = {"error": round(max(abs(guess / real - 1) for real, guess in rams), 3)}
    return found


def main(folder: Path, families: list[str]) -> None:
    """Synthesise the machines, fit the weights, and write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = json.loads(WEIGHTS.read_text()) if WEIGHTS.exists() else {"families": {}, "machines": {}}
    for board in BOARDS.values():
        if not families or board.device.family in families:
            machines = synthesise(board, folder)
            written["families"][board.device.family] = weigh(board, machines)
            written["machines"][board.device.family] = len(machines)
    written["tools"] = yosys_version()
    WEIGHTS.write_text(json.dumps(written, indent=2) + "\n")
    estimate.__globals__["weights"].cache_clear()
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda block: block[1] + table(written) + block[3], text), encoding="utf-8")


def table(written: dict[str, Any]) -> str:
    """Return the table of the weights of logic cells, by family."""
    boards = {board.device.family: board for board in BOARDS.values()}
    known = written["families"]
    text = "| logic cells of | " + " | ".join(boards[family].device for family in known) + " |\n"
    text += "| --- |" + " --- |" * len(known) + "\n"
    names = [name for name in next(iter(known.values()))["logic cells"] if name != "error"]
    for name in names:
        text += f"| {name} | " + " | ".join(f"{known[f]['logic cells'][name]:,.1f}" for f in known) + " |\n"
    for what in (*ESTIMATED, "block RAMs"):
        text += f"| *largest error, {what}* | " + " | ".join(f"{known[f][what]['error']:.1%}" for f in known) + " |\n"
    text += "| *machines* | " + " | ".join(str(written["machines"][f]) for f in known) + " |\n"
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
