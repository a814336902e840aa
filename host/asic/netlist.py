"""Mapped netlists in Yosys's JSON format: the cells of each module, and those of the whole design."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from etchnet.host.asic.liberty import Cell

__all__ = ["Instance", "Netlist"]


@dataclass(frozen=True)
class Instance:
    """Instance of a cell that is not a module of the design."""

    path: str
    """names of instances from the top module down, joined by dots; a flip-flop has the name of the signal that it
    drives"""
    module: str
    """module that contains the instance"""
    kind: str
    """type of the cell"""
    inputs: list[tuple[str, int]]
    """pins and their nets, without pins that are tied to a constant"""
    outputs: list[tuple[str, int]]
    """pins and their nets; the net of an unconnected pin is -1"""


class Netlist:
    """Mapped design, as written by the Yosys command `write_json`.

    Parameters
    ----------
    data
        Decoded JSON object.
    top
        Name of the top module.
    """

    def __init__(self, data: Mapping[str, Any], top: str) -> None:
        self.modules: dict[str, Any] = {name: m for name, m in data["modules"].items() if not _is_box(m)}
        self.top = top

    def counts(self, module: str) -> Counter[str]:
        """Return the number of cells in one module by type.

        Instances of other modules count as one cell each, whose type is the module's name.
        """
        return Counter(cell["type"] for cell in self.modules[module]["cells"].values() if cell["type"] != "$scopeinfo")

    def instances(self) -> Counter[str]:
        """Return the number of instances of each module in the design."""
        total: Counter[str] = Counter()

        def add(module: str, times: int) -> None:
            total[module] += times
            for kind, count in self.counts(module).items():
                if kind in self.modules:
                    add(kind, times * count)

        add(self.top, 1)
        return total

    def expand(self, cells: Mapping[str, Cell]) -> tuple[list[Instance], dict[str, list[int]]]:
        """Return all cells of the design, and the nets of each port of the top module; net -1 is a constant.

        Parameters
        ----------
        cells
            Cells of the library by type, which define the directions of pins where the netlist does not.
        """
        instances: list[Instance] = []
        fresh = iter(range(1 << 62))
        nets = {"0": -1, "1": -1, "x": -1, "z": -1}
        top = self.modules[self.top]
        outer: dict[Any, int] = {}
        for port in top["ports"].values():
            for bit in port["bits"]:
                if bit not in nets and bit not in outer:
                    outer[bit] = next(fresh)
        self._expand(self.top, "", outer, nets, fresh, cells, instances)
        return instances, {name: [outer.get(bit, -1) for bit in port["bits"]] for name, port in top["ports"].items()}

    def _expand(
        self,
        module: str,
        path: str,
        local: dict[Any, int],
        constants: dict[str, int],
        fresh: Iterator[int],
        cells: Mapping[str, Cell],
        into: list[Instance],
    ) -> None:
        """Add the cells of a module and of its submodules to `into`; `local` maps bits of the module to nets."""

        def net(bit: Any) -> int:
            if bit in constants:
                return -1
            if bit not in local:
                local[bit] = next(fresh)
            return local[bit]

        names = self._names(module)
        for name, cell in self.modules[module]["cells"].items():
            kind = cell["type"]
            if kind == "$scopeinfo":
                continue
            connections = cell["connections"]
            if kind in cells and cells[kind].sequential:
                name = next(
                    (names[bits[0]] for pin, bits in connections.items() if pin[0] == "Q" and bits[0] in names), name
                )
            if kind in self.modules:
                inner: dict[Any, int] = {}
                for port, described in self.modules[kind]["ports"].items():
                    for bit, outside in zip(described["bits"], connections.get(port, ()), strict=False):
                        if bit not in constants:
                            inner[bit] = net(outside)
                self._expand(kind, f"{path}{name}.", inner, constants, fresh, cells, into)
                continue
            directions = cell.get("port_directions") or {n: p.direction for n, p in cells[kind].pins.items()}
            inputs, outputs = [], []
            for pin, bits in connections.items():
                if directions[pin] == "input":
                    inputs += [(pin, n) for bit in bits if (n := net(bit)) >= 0]
                else:
                    outputs += [(pin, net(bit)) for bit in bits]
            into.append(Instance(path + name, module, kind, inputs, outputs))

    def _names(self, module: str) -> dict[int, str]:
        """Return the shortest Verilog name of each net that a flip-flop in the module drives."""
        driven = {
            bits[0]
            for cell in self.modules[module]["cells"].values()
            for pin, bits in cell["connections"].items()
            if pin.startswith("Q") and bits
        }
        names: dict[int, str] = {}
        for name, net in self.modules[module]["netnames"].items():
            if net["hide_name"]:
                continue
            for index, bit in enumerate(net["bits"]):
                if bit in driven and len(names.get(bit, "x" * 999)) > len(name) + 4:
                    names[bit] = f"{name}[{index}]" if len(net["bits"]) > 1 else name
        return names


def _is_box(module: Mapping[str, Any]) -> bool:
    """Return whether a module is a black box or white box, which is not part of the design."""
    return any(int(str(module.get("attributes", {}).get(name, "0")), 2) for name in ("blackbox", "whitebox"))
