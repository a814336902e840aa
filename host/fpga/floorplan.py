"""Improvements to an ECP5's netlist after synthesis: registers inside block RAMs, and sites for large cells.

Yosys leaves a register after a block RAM in the fabric, though the block RAM has one of its own (FPGA-TN-02204).
nextpnr starts with every cell in one place and spreads the block RAMs of a memory all over the device; it does the same
to multipliers where the device has few more sites than the design has multipliers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["MEMORIES", "Sites", "absorb_registers", "place_block_rams", "place_multipliers"]


@dataclass(frozen=True)
class Sites:
    """Sites of a device's large cells, as nextpnr names them, each from left to right and from top to bottom."""

    multipliers: tuple[str, ...]
    near: tuple[str, ...]
    """block RAMs in the rows next to the multipliers"""
    far: tuple[str, ...]
    """all other block RAMs"""

    @classmethod
    def of_grid(
        cls, *, columns: Sequence[int], multipliers: Sequence[int], near: Sequence[int], far: Sequence[int]
    ) -> Sites:
        """Return the sites of an ECP5 whose large cells are in blocks of nine columns of tiles.

        Parameters
        ----------
        columns
            The first column of each block; it has four multipliers in a row of multipliers, and four block RAMs in a
            row of block RAMs.
        multipliers, near, far
            Rows of multipliers, of block RAMs next to them, and of other block RAMs.
        """

        def block_rams(rows: Sequence[int]) -> tuple[str, ...]:
            return tuple(f"X{x + 2 * i}/Y{y}/EBR{i}" for x in columns for i in range(4) for y in rows)

        return cls(
            tuple(f"X{x + i}/Y{y}/MULT18_{i}" for x in columns for i in (0, 1, 4, 5) for y in multipliers),
            block_rams(near),
            block_rams(far),
        )


MEMORIES = ("incoming", "outgoing", "passes", "drains", "input", "activation", "output", "residual")
"""memories other than weights and accumulators, in the order in which data passes them; unknown memories come last"""


def absorb_registers(module: Mapping[str, Any]) -> int:
    """Replace registers that alone follow a port of a block RAM by the port's own; return how many.

    A register must have the port's clock, and neither an enable nor a reset.

    Parameters
    ----------
    module
        The only module of a netlist, as Yosys writes it in JSON; it is changed in place.
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
        """Return the register that a bit goes to, if it goes nowhere else."""
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
        # Words of 36 bits leave by the outputs of both ports, with the clock of the second.
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
    """Fix the sites of block RAMs; return how many there are.

    Weights and accumulators of one column of the array are placed side by side, and so are the columns, in the rows
    next to the multipliers and across as much of the device as the multipliers take. Every other memory is placed in
    one piece, in the other rows. nextpnr keeps these sites, and reaches a good placement of the other cells sooner.

    Parameters
    ----------
    module
        As for `absorb_registers`.
    sites
        Sites of the device. If there are too few, nothing is placed, and nextpnr reports the error.
    """
    rams = [name for name, cell in module["cells"].items() if cell["type"] == "DP16KD"]
    if len(rams) > len(sites.near) + len(sites.far):
        return 0
    lanes = {name: lane for name in rams if (lane := _lane(name))}
    last = {kind: max(lane for other, lane in lanes.values() if other == kind) for kind, _ in lanes.values()}
    of_columns = sorted(lanes, key=lambda name: (lanes[name][1] / (last[lanes[name][0]] + 1), name))
    others = sorted((name for name in rams if name not in lanes), key=_block_ram)
    # What exceeds the rows of one kind goes to the other kind.
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
    """Fix the sites of multipliers, those of each column of the array side by side, then those of requantisers.

    This happens only where the design takes more than three quarters of all sites: with fewer, nextpnr finds a better
    placement. Parameters are those of `place_block_rams`; returns how many were placed.
    """
    multipliers = [name for name, cell in module["cells"].items() if cell["type"] == "MULT18X18D"]
    if not 3 * len(sites.multipliers) < 4 * len(multipliers) <= 4 * len(sites.multipliers):
        return 0
    middle = (len(sites.multipliers) - len(multipliers)) // 2
    _place(module, sorted(multipliers, key=_multiplier), sites.multipliers[middle:])
    return len(multipliers)


def _place(module: Mapping[str, Any], cells: Sequence[str], sites: Sequence[str]) -> None:
    """Fix the site of each cell; sites that are left over stay free."""
    for name, site in zip(cells, sites, strict=False):
        module["cells"][name]["attributes"]["BEL"] = site


def _lane(name: str) -> tuple[str, int] | None:
    """Return the memory of weights or accumulators that a block RAM belongs to, and its part of the word."""
    if weights := re.search(r"\.weights\b.*\.bank_\d+_(\d+)\.", name):
        return "weights", int(weights[1])
    if bank := re.search(r"\.(bank_\d+)\.memory\..*\.(\d+)$", name):
        return bank[1], int(bank[2])
    return None


def _multiplier(name: str) -> tuple[Any, ...]:
    """Return the key that sorts multipliers by name: elements by column, then by row; then requantisers."""
    if element := re.search(r"\.element_(\d+)_(\d+)\.", name):
        return 0, int(element[2]), int(element[1]), name
    requantiser = re.search(r"\.requantiser_(\d+)\.", name)
    return 1, int(requantiser[1]) if requantiser else 0, 0, name


def _block_ram(name: str) -> tuple[Any, ...]:
    """Return the key that sorts other block RAMs by name: by memory, then by the bits they hold; banks together."""
    parts = [re.sub(r"\$\d+$", "", part) for part in name.split(".")]
    memory = next((MEMORIES.index(part) for part in parts if part in MEMORIES), len(MEMORIES))
    bank = re.search(r"\.bank_(\d+)\.words", name)
    lane = int(parts[-1]) if parts[-1].isdecimal() else 0
    return memory, lane, int(bank[1]) if bank else 0, name
