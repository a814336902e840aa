"""What a netlist for an ECP5 still lacks behind synthesis: registers inside block RAMs, and places for large cells.

Synthesis leaves a register behind a block RAM in the fabric, though the block RAM has one of its own (FPGA-TN-02204).
Place and route, which begins with everything in one place, spreads the block RAMs of a memory all over the device, and
multipliers too where there are hardly more sites than multipliers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["LFE5U_85F", "MEMORIES", "Sites", "absorb_registers", "place_block_rams", "place_multipliers"]


@dataclass(frozen=True)
class Sites:
    """Where a device has its large cells, as nextpnr calls it, each from left to right and from top to bottom."""

    multipliers: tuple[str, ...]
    near: tuple[str, ...]
    """block RAMs in rows next to the multipliers'"""
    far: tuple[str, ...]
    """all others"""


def _lfe5u_85f() -> Sites:
    columns = (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
    multipliers = (
        f"X{x + number}/Y{y}/MULT18_{number}" for x in columns for number in (0, 1, 4, 5) for y in (10, 34, 58)
    )
    near, far = (
        tuple(f"X{x + 2 * number}/Y{y}/EBR{number}" for x in columns for number in range(4) for y in rows)
        for rows in ((22, 46), (70, 82))
    )
    return Sites(tuple(multipliers), near, far)


LFE5U_85F = _lfe5u_85f()

MEMORIES = ("incoming", "outgoing", "passes", "drains", "input", "activation", "output", "residual")
"""memories but for weights and accumulators, along the way of the data; what is left comes behind"""


def absorb_registers(module: Mapping[str, Any]) -> int:
    """Make registers that follow a port of a block RAM, and nothing else does, those of the port; returns how many.

    They must have the port's clock, and neither enable nor reset.

    Parameters
    ----------
    module
        The one module of a netlist, as Yosys writes it in JSON; it is changed.
    """
    cells = module["cells"]
    sinks: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                for bit in bits:
                    sinks[bit].append((name, port))
    for port in module["ports"].values():
        for bit in port["bits"]:
            sinks[bit].append(("", ""))

    def follower(bit: Any, clock: Any) -> str | None:
        """The one register that a bit goes to."""
        if len(sinks[bit]) != 1:
            return None
        name, port = sinks[bit][0]
        cell = cells.get(name, {"type": ""})
        if cell["type"] != "TRELLIS_FF" or port != "DI" or cell["connections"]["CLK"] != clock:
            return None
        enabled = cell["parameters"].get("CEMUX") == "1" or cell["connections"].get("CE", ["1"]) == ["1"]
        free = cell["connections"].get("LSR", ["0"]) in (["0"], ["x"])
        return name if enabled and free else None

    absorbed = 0
    for ram in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        # With words of 36 bits the outputs of both ports are those of the second.
        parameters = ram["parameters"]
        paired = 36 in (int(parameters[f"DATA_WIDTH_{side}"], 2) for side in "AB")
        for sides, clock in [("AB", "CLKB")] if paired else [("A", "CLKA"), ("B", "CLKB")]:
            outputs = {
                port: bits[0]
                for port, bits in ram["connections"].items()
                if re.fullmatch(rf"DO[{sides}]\d+", port) and sinks[bits[0]]
            }
            registers = {port: follower(bit, ram["connections"][clock]) for port, bit in outputs.items()}
            if not registers or not all(registers.values()):
                continue
            for port, name in registers.items():
                ram["connections"][port] = cells.pop(name)["connections"]["Q"]
                absorbed += 1
            for side in sides:
                parameters[f"REGMODE_{side}"] = "OUTREG"
                ram["connections"][f"OCE{side}"] = ["1"]
    return absorbed


def place_block_rams(module: Mapping[str, Any], sites: Sites) -> int:
    """Give block RAMs their places; returns how many there are.

    Weights and accumulators of a column of the array go side by side, and so do the columns, next to the multipliers
    and over as much of the device as these take; all other memories, each in one piece, far from them. Place and route
    takes them as given, and what it has still to do is then near its best sooner.

    Parameters
    ----------
    module
        As for `absorb_registers`.
    sites
        Of the device. Nothing is placed where there are too few: place and route will say so.
    """
    rams = [name for name, cell in module["cells"].items() if cell["type"] == "DP16KD"]
    if len(rams) > len(sites.near) + len(sites.far):
        return 0
    lanes = {name: lane for name in rams if (lane := _lane(name))}
    last = {kind: max(lane for other, lane in lanes.values() if other == kind) for kind, _ in lanes.values()}
    of_columns = sorted(lanes, key=lambda name: (lanes[name][1] / (last[lanes[name][0]] + 1), name))
    others = sorted((name for name in rams if name not in lanes), key=_block_ram)
    # What is too much for one side goes to the other.
    others = [*of_columns[len(sites.near) :], *others]
    of_columns = of_columns[: len(sites.near)]
    multipliers = sum(cell["type"] == "MULT18X18D" for cell in module["cells"].values())
    width = max(len(of_columns), len(sites.near) * min(multipliers, len(sites.multipliers)) // len(sites.multipliers))
    left = (len(sites.near) - width) // 2
    near = [sites.near[left + index * width // len(of_columns)] for index in range(len(of_columns))]
    free = [site for site in sites.near if site not in set(near)]
    middle = max(0, len(sites.far) - len(others)) // 2
    _place(module, of_columns, near)
    _place(module, others, [*sites.far[middle:], *free])
    return len(rams)


def place_multipliers(module: Mapping[str, Any], sites: Sites) -> int:
    """Put the multipliers of each column of the array next to one another, and those of requantisers behind them.

    Only where more than three quarters of all sites are taken: with fewer, place and route finds better places. Returns
    how many were placed. Parameters are those of `place_block_rams`.
    """
    multipliers = [name for name, cell in module["cells"].items() if cell["type"] == "MULT18X18D"]
    if not 3 * len(sites.multipliers) < 4 * len(multipliers) <= 4 * len(sites.multipliers):
        return 0
    middle = (len(sites.multipliers) - len(multipliers)) // 2
    _place(module, sorted(multipliers, key=_multiplier), sites.multipliers[middle:])
    return len(multipliers)


def _place(module: Mapping[str, Any], cells: Sequence[str], sites: Sequence[str]) -> None:
    for name, site in zip(cells, sites, strict=False):
        module["cells"][name]["attributes"]["BEL"] = site


def _lane(name: str) -> tuple[str, int] | None:
    """Of a block RAM of weights or accumulators, which memory it is of, and the part of its word."""
    if weights := re.search(r"\.weights\b.*\.bank_\d+_(\d+)\.", name):
        return "weights", int(weights[1])
    if bank := re.search(r"\.(bank_\d+)\.memory\..*\.(\d+)$", name):
        return bank[1], int(bank[2])
    return None


def _multiplier(name: str) -> tuple[Any, ...]:
    """Order of multipliers by the names of their cells: elements by column, then by row; then requantisers."""
    if element := re.search(r"\.element_(\d+)_(\d+)\.", name):
        return 0, int(element[2]), int(element[1]), name
    requantiser = re.search(r"\.requantiser_(\d+)\.", name)
    return 1, int(requantiser[1]) if requantiser else 0, 0, name


def _block_ram(name: str) -> tuple[Any, ...]:
    """Order of other block RAMs by the names of their cells: by memory, then by the bits they hold; banks together."""
    parts = [re.sub(r"\$\d+$", "", part) for part in name.split(".")]
    memory = next((MEMORIES.index(part) for part in parts if part in MEMORIES), len(MEMORIES))
    bank = re.search(r"\.bank_(\d+)\.words", name)
    lane = int(parts[-1]) if parts[-1].isdecimal() else 0
    return memory, lane, int(bank[1]) if bank else 0, name
