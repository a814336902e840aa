"""Changes to an ECP5 netlist after synthesis: registers moved into block RAMs, and fixed sites for large cells.

Yosys leaves a register after a block RAM in the fabric, although the block RAM contains an output register
(FPGA-TN-02204). nextpnr's placer starts with all cells at one point, and so spreads the block RAMs of a memory all over
the device. It does the same to multipliers if the design uses most of the device's multipliers.
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
    """Sites of a device's large cells, by nextpnr's names, ordered from left to right and then from top to bottom."""

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
            First column of each block, which has four multipliers in every row of multipliers and four block RAMs in
            every row of block RAMs.
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
"""memories other than weights and accumulators, in the order of the data flow; unknown memories come last"""


def absorb_registers(module: Mapping[str, Any]) -> int:
    """Replace registers on the outputs of block RAMs by the block RAMs' own registers; return how many were replaced.

    A port's registers are replaced if every output in use drives only a register that has the port's clock and neither
    an enable nor a reset.

    Parameters
    ----------
    module
        The only module of a netlist, in Yosys's JSON format; it is changed in place.
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
        """Return the register that a bit drives, or None if it drives anything else."""
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
        # Words of 36 bits use the outputs of both ports, with the clock of port B.
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
    """Fix the sites of block RAMs; return how many were placed.

    Weights and accumulators of each column of the array are placed side by side, column after column, in the rows next
    to the multipliers and over the same width as the multipliers. Every other memory is placed contiguously in the
    other rows. nextpnr keeps these sites and finds a good placement of the other cells sooner.

    Parameters
    ----------
    module
        Module to change, as for `absorb_registers`.
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
    # Block RAMs that do not fit in one kind of row go to the other kind.
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
    """Fix the sites of multipliers, column by column of the array, then those of requantisers.

    Multipliers are placed only if the design uses more than three quarters of all sites; otherwise nextpnr finds a
    better placement. Parameters are those of `place_block_rams`; returns how many were placed.
    """
    multipliers = [name for name, cell in module["cells"].items() if cell["type"] == "MULT18X18D"]
    if not 3 * len(sites.multipliers) < 4 * len(multipliers) <= 4 * len(sites.multipliers):
        return 0
    middle = (len(sites.multipliers) - len(multipliers)) // 2
    _place(module, sorted(multipliers, key=_multiplier), sites.multipliers[middle:])
    return len(multipliers)


def _place(module: Mapping[str, Any], cells: Sequence[str], sites: Sequence[str]) -> None:
    """Fix the site of each cell; surplus sites stay free."""
    for name, site in zip(cells, sites, strict=False):
        module["cells"][name]["attributes"]["BEL"] = site


def _lane(name: str) -> tuple[str, int] | None:
    """Return the memory of a block RAM, weights or an accumulator bank, and its part of the word, or None."""
    if weights := re.search(r"\.weights\b.*\.bank_\d+_(\d+)\.", name):
        return "weights", int(weights[1])
    if bank := re.search(r"\.(bank_\d+)\.memory\..*\.(\d+)$", name):
        return bank[1], int(bank[2])
    return None


def _multiplier(name: str) -> tuple[Any, ...]:
    """Return the sort key of a multiplier's name: elements by column and then by row, followed by requantisers."""
    if element := re.search(r"\.element_(\d+)_(\d+)\.", name):
        return 0, int(element[2]), int(element[1]), name
    requantiser = re.search(r"\.requantiser_(\d+)\.", name)
    return 1, int(requantiser[1]) if requantiser else 0, 0, name


def _block_ram(name: str) -> tuple[Any, ...]:
    """Return the sort key of another block RAM's name: by memory, then by bits of the word, then by bank."""
    parts = [re.sub(r"\$\d+$", "", part) for part in name.split(".")]
    memory = next((MEMORIES.index(part) for part in parts if part in MEMORIES), len(MEMORIES))
    bank = re.search(r"\.bank_(\d+)\.words", name)
    lane = int(parts[-1]) if parts[-1].isdecimal() else 0
    return memory, lane, int(bank[1]) if bank else 0, name
