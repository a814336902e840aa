"""The netlist of a component, bit by bit: registers, memories, ports, and what every bit depends on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.lib import wiring

from etchnet.hdl.blocks.amaranth_internals import cells, netlist

__all__ = ["Memory", "Netlist", "Register", "write_lanes"]

_LOGIC = (
    cells.Operator,
    cells.Part,
    cells.Matches,
    cells.PriorityMatch,
    cells.AssignmentList,
    cells.AsyncReadPort,
    cells.Instance,
)
_STATE = (cells.FlipFlop, cells.SyncReadPort, cells.SyncWritePort, cells.Memory)

_BITWISE = frozenset("~&|^m")
"""operators that work bit by bit: a bit of the result depends on one bit of each operand"""


@dataclass(frozen=True)
class Register:
    """A register: a flip-flop, or the output register of a memory's read port."""

    cell: int
    """its index in the netlist, which identifies it"""
    name: str
    """path of its signal, joined by dots; for a read port, that of its memory and ``.read``"""
    bits: tuple[int, ...]
    """its nets, lowest bit first"""
    init: int | None
    """value after power-up or reset; None for a read port, whose first value is arbitrary"""
    memory: int | None
    """for a read port: the memory"""


@dataclass(frozen=True)
class Memory:
    """An array of words with read and write ports."""

    cell: int
    """its index in the netlist, which identifies it"""
    name: str
    """path of its module, joined by dots"""
    width: int
    depth: int
    reads: tuple[int, ...]
    """cells of the read ports, synchronous and asynchronous"""
    writes: tuple[int, ...]
    """cells of the write ports"""
    address_bits: int
    """width of its widest address"""


class Netlist:
    """The netlist of a component, flat.

    A *net* is a number that stands for one bit; 0 and 1 are the constants. Every component has one clock, so that a
    cycle is a step from all registers and inputs to the next values of all registers.

    Parameters
    ----------
    component
        The top component.
    platform
        Passed to every `elaborate`.

    Raises
    ------
    ValueError
        The component has registers of more than one clock or of one that is no input, an asynchronous reset, a memory
        whose reads see writes of the same cycle, or a cell of a kind that no synthesisable design has.
    """

    def __init__(self, component: wiring.Component, *, platform: Any = None) -> None:
        self.raw = netlist(component, platform=platform)
        top = self.raw.top
        self.inputs: dict[str, tuple[int, ...]] = {
            name: tuple(cells.Net.from_cell(0, bit) for bit in range(start, start + width))
            for name, (start, width) in top.ports_i.items()
            if name != "clk"
        }
        """nets of every input, the reset `rst` included, by name"""
        self.outputs: dict[str, tuple[int, ...]] = {name: tuple(value) for name, value in top.ports_o.items()}
        """nets of every output by name"""
        # Amaranth appends a number to a module that is called like a signal beside it.
        self._paths = [".".join(part.split("$")[0] for part in module.name[1:]) for module in self.raw.modules]
        self._check_cells()

    def _check_cells(self) -> None:
        """Refuse what one step per cycle does not describe."""
        clocks = set()
        for cell in self.raw.cells[1:]:  # the first is the top itself
            if not isinstance(cell, (*_LOGIC, *_STATE)):
                raise ValueError(f"the component must be made of logic, registers and memories, not {cell}")
            if isinstance(cell, cells.FlipFlop | cells.SyncWritePort | cells.SyncReadPort):
                clocks.add((cell.clk, cell.clk_edge))
            if isinstance(cell, cells.FlipFlop) and cell.arst != 0:
                raise ValueError("the component must not have registers with an asynchronous reset")
            if isinstance(cell, cells.SyncReadPort) and cell.transparent_for:
                raise ValueError("the component must not have memories whose reads see writes of the same cycle")
        if len(clocks) > 1:
            raise ValueError(f"the component must have one clock, not {len(clocks)}")
        if any(self.driver(clock)[0] for clock, _ in clocks):
            raise ValueError("the clock of the component must be an input")

    def cell(self, index: int) -> Any:
        """Return a cell of the netlist."""
        return self.raw.cells[index]

    @staticmethod
    def driver(net: int) -> tuple[int, int]:
        """Return the cell that drives a net, and the bit of its output; cell 0 drives constants and inputs."""
        return net >> 16, net & 0xFFFF

    @staticmethod
    def output(cell: int, bit: int) -> int:
        """Return the net of one bit of a cell's output."""
        return cell << 16 | bit

    @cached_property
    def instances(self) -> tuple[int, ...]:
        """Cells of all `Instance`s."""
        return tuple(index for index, cell in enumerate(self.raw.cells) if isinstance(cell, cells.Instance))

    def instance_outputs(self, cell: int) -> tuple[int, ...]:
        """Return the nets that an `Instance` drives, all outputs side by side."""
        return tuple(sorted(self.raw.cells[cell].output_nets(cell)))

    def path(self, cell: int) -> str:
        """Return the path of the module that a cell belongs to, joined by dots; empty for the top."""
        return self._paths[self.raw.cells[cell].module_idx]

    @cached_property
    def registers(self) -> dict[int, Register]:
        """All registers, by cell."""
        found = {}
        for index, cell in enumerate(self.raw.cells):
            if isinstance(cell, cells.FlipFlop):
                bits = tuple(self.output(index, bit) for bit in range(len(cell.data)))
                found[index] = Register(index, self._name(index, bits), bits, cell.init, None)
            elif isinstance(cell, cells.SyncReadPort):
                bits = tuple(self.output(index, bit) for bit in range(cell.width))
                found[index] = Register(index, f"{self.path(cell.memory)}.read", bits, None, cell.memory)
        return found

    def _name(self, index: int, bits: tuple[int, ...]) -> str:
        path = self.path(index)
        return ".".join(part for part in (path, self.signal_name(bits[0])) if part)

    @cached_property
    def memories(self) -> dict[int, Memory]:
        """All memories, by cell."""
        ports: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for index, cell in enumerate(self.raw.cells):
            if isinstance(cell, cells.SyncReadPort | cells.AsyncReadPort):
                ports[cell.memory][0].append(index)
            elif isinstance(cell, cells.SyncWritePort):
                ports[cell.memory][1].append(index)
        found = {}
        for index, cell in enumerate(self.raw.cells):
            if isinstance(cell, cells.Memory):
                reads, writes = map(tuple, ports[index])
                bits = max((len(self.raw.cells[port].addr) for port in (*reads, *writes)), default=1)
                found[index] = Memory(index, self.path(index), cell.width, cell.depth, reads, writes, bits)
        return found

    # Names

    @cached_property
    def _names(self) -> dict[int, str]:
        names: dict[int, str] = {}
        for signal, nets in self.raw.signals.items():
            for bit, net in enumerate(nets):
                text = signal.name if len(nets) == 1 else f"{signal.name}[{bit}]"
                names.setdefault(int(net), text)
        return names

    def signal_name(self, net: int) -> str:
        """Return the name of a signal that a net belongs to, without the index of the bit; ``?`` if it has none."""
        return self._names.get(int(net), "?").split("[")[0]

    def describe(self, net: int) -> str:
        """Return a net as a path, a signal and a bit, for people."""
        cell, _ = self.driver(net)
        path = self.path(cell) if cell else ""
        return ".".join(part for part in (path, self._names.get(int(net), "?")) if part)

    def nets(self, signal: Any) -> tuple[int, ...]:
        """Return the nets of an Amaranth signal of the component, lowest bit first."""
        return tuple(int(net) for net in self.raw.signals[signal])

    def find(self, path: str, name: str) -> tuple[int, ...]:
        """Return the nets of the signal `name` that the module at `path` sees; raise KeyError if there is none."""
        for module, its_path in zip(self.raw.modules, self._paths, strict=True):
            if its_path == path:
                for signal, its_name in module.signal_names.items():
                    if its_name == name and signal in self.raw.signals:
                        return self.nets(signal)
        raise KeyError(f"no signal {name} in module {path or 'top'}")

    # Dependences within a cycle

    def edges(self) -> Iterator[tuple[int, Iterable[int], Iterable[int]]]:
        """Yield, for every cell of logic, groups of input nets and the output nets that each input may change.

        Each item is (cell, inputs, outputs). Registers and memories are no logic, but an asynchronous read port is: its
        data depend on its address. The outputs of an `Instance` depend on all its inputs.
        """
        for index, cell in enumerate(self.raw.cells):
            match cell:
                case cells.Operator(operator=operator) if operator in _BITWISE:
                    for bit in range(cell.width):
                        nets = [value[bit if len(value) > 1 else 0] for value in cell.inputs]
                        yield index, nets, (self.output(index, bit),)
                case cells.AssignmentList():
                    yield from self._assignments(index, cell)
                case cells.PriorityMatch():
                    outputs = [self.output(index, bit) for bit in range(len(cell.inputs))]
                    yield index, (cell.en,), outputs
                    for bit, net in enumerate(cell.inputs):
                        yield index, (net,), outputs[bit:]
                case _ if isinstance(cell, _LOGIC):
                    yield index, cell.input_nets(), cell.output_nets(index)
                case _:
                    pass

    def _assignments(self, index: int, cell: Any) -> Iterator[tuple[int, Iterable[int], Iterable[int]]]:
        for bit, net in enumerate(cell.default):
            yield index, (net,), (self.output(index, bit),)
        for assignment in cell.assignments:
            outputs = [self.output(index, assignment.start + bit) for bit in range(len(assignment.value))]
            yield index, (assignment.cond,), outputs
            for net, output in zip(assignment.value, outputs, strict=True):
                yield index, (net,), (output,)


def write_lanes(port: Any) -> list[tuple[int, int, int]]:
    """Return the lanes of a write port: for each the net that enables it, its first bit, and the bit after its last."""
    size = len(port.data) // len(port.en)
    lanes: list[tuple[int, int, int]] = []
    for index, enable in enumerate(port.en):
        first = index * size
        if lanes and lanes[-1][0] == enable:
            enable, first, _ = lanes.pop()
        lanes.append((enable, first, (index + 1) * size))
    return lanes
