"""Static timing analysis of a mapped netlist: the longest register-to-register path that ends in each module."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from etchnet.host.asic.liberty import Arc, Cell, Pin, Table
from etchnet.host.asic.netlist import Instance, Netlist

__all__ = ["FANOUT", "LogicPath", "UnitCells", "longest_paths"]

FANOUT = 16
"""most pins that a net drives without a tree of buffers"""

_EDGES = ("rise", "fall")
_CONSTANT = Table([0.0], [0.0], [[0.0]])
_LEVEL = Table([0.0], [0.0], [[1.0]])
_BUFFER_TABLES = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
_Changes = tuple[tuple[int, int], ...]
_SENSES: dict[str, _Changes] = {"positive_unate": ((0, 0), (1, 1)), "negative_unate": ((1, 0), (0, 1))}
"""pairs of an input's edge and the output's edge that it causes; 0 is rising, 1 is falling"""
_BOTH: _Changes = ((0, 0), (1, 0), (0, 1), (1, 1))


class UnitCells(Mapping[str, Cell]):
    """Generic gates of Yosys as cells, each with a delay of one level of logic and no area."""

    def __init__(self, netlist: Netlist) -> None:
        self._cells: dict[str, Cell] = {}
        for module in netlist.modules.values():
            for cell in module["cells"].values():
                if cell["type"].startswith("$_") and cell["type"] not in self._cells:
                    self._cells[cell["type"]] = self._cell(cell)

    @staticmethod
    def _cell(cell: Mapping[str, Any]) -> Cell:
        directions, sequential = cell["port_directions"], "DFF" in cell["type"]
        delay = _CONSTANT if sequential else _LEVEL
        tables = {f"cell_{edge}": delay for edge in _EDGES} | {f"{edge}_transition": _CONSTANT for edge in _EDGES}
        inputs = ["C"] if sequential else [pin for pin, direction in directions.items() if direction == "input"]
        arcs = [Arc(pin, "rising_edge" if sequential else "", "non_unate", tables) for pin in inputs]
        return Cell(0.0, sequential, {p: Pin(d, 0.0, arcs if d == "output" else ()) for p, d in directions.items()})

    def __getitem__(self, kind: str) -> Cell:
        return self._cells[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)


@dataclass(frozen=True)
class LogicPath:
    """Path from a register, a memory or an input to the next register or memory, or to an output."""

    delay: float
    """time from clock edge to clock edge, with the delay of the first register and the setup time of the last"""
    start: str
    """cell at which the path starts"""
    end: str
    """cell and pin at which the path ends, or a port of the top module"""
    end_module: str
    """module that contains the last cell; empty for a port"""
    steps: list[tuple[str, float]] = field(repr=False)
    """types of the gates on the path and the arrival times at their outputs, without the registers"""

    @property
    def levels(self) -> int:
        """Number of gates on the path."""
        return len(self.steps)


def longest_paths(
    netlist: Netlist, cells: Mapping[str, Cell], *, report: Callable[[str, float], None] = lambda text, share: None
) -> list[LogicPath]:
    """Return the longest path that ends in each module, and the one that ends at the top's outputs, longest first.

    Wires have no delay and no capacitance. The clock is ideal. Inputs, and outputs of cells that are not in `cells`
    (memories), change at the clock edge; inputs of such cells need no setup time. The load of a net is the capacitance
    of the pins that it drives. A net with more than `FANOUT` pins gets a tree of buffers with `FANOUT` branches each,
    as in layout, if the library has a buffer. If several arcs lead to a net, the latest arrival and the longest
    transition count.

    Raises
    ------
    ValueError
        Gates form a loop.
    """
    design = _Design.of(netlist, cells)
    timing = _Timing(_Loads.of(design), _Buffer.best(cells))
    for net in design.inputs:
        timing.start(net)
    for index, (instance, cell) in enumerate(design.placed):
        if cell is None or cell.sequential:
            timing.launch(index, instance, cell)
    gates = sum(cell is not None and not cell.sequential for _, cell in design.placed)
    for done, index in enumerate(_in_order(design), start=1):
        instance, cell = design.placed[index]
        if cell is not None:
            timing.propagate(index, instance, cell)
        if not done % 5000:
            report("timing", done / gates)
    worst: dict[str, _End] = {}
    for end in _ends(design, timing):
        if end.module not in worst or end.time > worst[end.module].time:
            worst[end.module] = end
    return sorted((_traced(end, design, timing) for end in worst.values()), key=lambda path: -path.delay)


@dataclass(frozen=True)
class _Design:
    """All cells of a design, and its ports."""

    placed: Sequence[tuple[Instance, Cell | None]]
    """all instances and their cells; None for a cell that is not in the library, such as a memory"""
    inputs: Sequence[int]
    """nets of the top module's inputs"""
    outputs: Sequence[tuple[str, int]]
    """names and nets of the top module's outputs"""

    @classmethod
    def of(cls, netlist: Netlist, cells: Mapping[str, Cell]) -> _Design:
        instances, ports = netlist.expand(cells)
        described = netlist.modules[netlist.top]["ports"]
        directed = [(described[name]["direction"], name, net) for name, nets in ports.items() for net in nets]
        return cls(
            [(instance, cells.get(instance.kind)) for instance in instances],
            [net for direction, _, net in directed if direction == "input"],
            [(name, net) for direction, name, net in directed if direction == "output"],
        )


@dataclass(frozen=True)
class _Loads:
    """Loads of nets: the number of pins that each drives, and their total capacitance."""

    capacitance: Mapping[int, float]
    pins: Mapping[int, int]

    @classmethod
    def of(cls, design: _Design) -> _Loads:
        capacitance: dict[int, float] = {}
        pins: dict[int, int] = {}
        for instance, cell in design.placed:
            for pin, net in instance.inputs:
                if cell is not None and pin in cell.pins:
                    capacitance[net] = capacitance.get(net, 0.0) + cell.pins[pin].capacitance
                    pins[net] = pins.get(net, 0) + 1
        return cls(capacitance, pins)


@dataclass(frozen=True)
class _Buffer:
    """Buffer cell."""

    capacitance: float
    """capacitance of the input"""
    delay: list[Table]
    """delays of a rising and of a falling output"""
    transition: list[Table]
    """transitions of a rising and of a falling output"""

    @classmethod
    def best(cls, cells: Mapping[str, Cell]) -> _Buffer | None:
        """Return the buffer that drives `FANOUT` copies of itself fastest; None if the library has no buffer."""
        found = []
        for cell in cells.values():
            inputs = [(name, pin) for name, pin in cell.pins.items() if pin.direction == "input"]
            outputs = [pin for pin in cell.pins.values() if pin.direction == "output"]
            if len(inputs) != 1 or len(outputs) != 1 or cell.sequential or not inputs[0][1].capacitance:
                continue
            arcs = [a for a in outputs[0].arcs if a.combinational and a.sense == "positive_unate"]
            if len(arcs) == 1 and all(kind in arcs[0].tables for kind in _BUFFER_TABLES):
                tables = [arcs[0].tables[kind] for kind in _BUFFER_TABLES]
                found.append(cls(inputs[0][1].capacitance, tables[:2], tables[2:]))

        def stage(buffer: _Buffer) -> float:
            load = buffer.branches
            ramp = buffer.transition[0](0.0, load)
            return max(delay(ramp, load) for delay in buffer.delay)

        return min(found, key=stage, default=None)

    @property
    def branches(self) -> float:
        """Capacitance of the next stage of a tree."""
        return FANOUT * self.capacitance

    def tree(self, pins: int, capacitance: float) -> list[float]:
        """Return the load of the buffers in each stage of a tree to `pins` pins; the last stage drives the pins."""
        stages = ceil_log(pins, FANOUT) - 1
        return [self.branches] * (stages - 1) + [FANOUT * capacitance / pins]


def ceil_log(value: int, base: int) -> int:
    """Return the smallest n with base ** n >= value."""
    n = 0
    while base**n < value:
        n += 1
    return n


class _Timing:
    """Arrival times and transitions of all nets, by edge; an arrival of -1 marks an edge that never occurs."""

    def __init__(self, loads: _Loads, buffer: _Buffer | None) -> None:
        self._loads, self._buffer = loads, buffer
        self.arrival: dict[int, list[float]] = {}
        self.slew: dict[int, list[float]] = {}
        self.before: dict[tuple[int, int], tuple[int, int, int]] = {}
        """predecessor of a net and its edge on the longest path: instance, input net and input edge"""
        self.source: dict[int, int] = {}
        """register or memory that drives a net"""

    def start(self, net: int) -> None:
        """Set the arrival of a net that changes at the clock edge."""
        self.arrival[net], self.slew[net] = [0.0, 0.0], [0.0, 0.0]

    def launch(self, index: int, instance: Instance, cell: Cell | None) -> None:
        """Set the arrivals at the outputs of a register, after its delay, or of a memory, at the clock edge."""
        for name, net in instance.outputs:
            if net < 0:
                continue
            self.source[net] = index
            if cell is None:
                self.start(net)
            else:
                self._drive(index, cell.pins[name], net, {})

    def propagate(self, index: int, instance: Instance, cell: Cell) -> None:
        """Compute the arrivals at the outputs of a gate from those at its inputs, which must be known."""
        inputs = dict(instance.inputs)
        for name, net in instance.outputs:
            if net >= 0:
                self._drive(index, cell.pins[name], net, inputs)

    def _drive(self, index: int, pin: Pin, net: int, inputs: Mapping[str, int]) -> None:
        """Compute the arrival at a net through a pin and the buffers after it; `inputs` are the cell's input nets."""
        capacitance, pins = self._loads.capacitance.get(net, 0.0), self._loads.pins.get(net, 0)
        buffer, tree = self._buffer, []
        if buffer is not None and pins > FANOUT:
            tree, capacitance = buffer.tree(pins, capacitance), buffer.branches
        times, slews = self._through_cell(index, pin, net, inputs, capacitance)
        if buffer is not None:
            for load, edge in itertools.product(tree, (0, 1)):
                if times[edge] >= 0:
                    times[edge] += buffer.delay[edge](slews[edge], load)
                    slews[edge] = buffer.transition[edge](slews[edge], load)
        if max(times) >= 0:
            self.arrival[net], self.slew[net] = times, slews

    def _through_cell(
        self, index: int, pin: Pin, net: int, inputs: Mapping[str, int], capacitance: float
    ) -> tuple[list[float], list[float]]:
        """Return the latest arrivals and the longest transitions at a pin, over all of its arcs."""
        times, slews = [-1.0, -1.0], [0.0, 0.0]
        for arc in pin.arcs:
            origin: int | None = None
            changes = _BOTH
            if not arc.clocked:
                if not arc.combinational or arc.related not in inputs or inputs[arc.related] not in self.arrival:
                    continue
                origin, changes = inputs[arc.related], _SENSES.get(arc.sense, _BOTH)
            for edge_in, edge in changes:
                delay = arc.tables.get(f"cell_{_EDGES[edge]}")
                start, ramp = (
                    (0.0, 0.0) if origin is None else (self.arrival[origin][edge_in], self.slew[origin][edge_in])
                )
                if delay is None or start < 0:
                    continue
                time = start + delay(ramp, capacitance)
                if time > times[edge]:
                    times[edge] = time
                    if origin is not None:
                        self.before[net, edge] = (index, origin, edge_in)
                transition = arc.tables.get(f"{_EDGES[edge]}_transition")
                if transition is not None:
                    slews[edge] = max(slews[edge], transition(ramp, capacitance))
        return times, slews


def _in_order(design: _Design) -> Iterator[int]:
    """Yield the indices of all gates in topological order."""
    gates = [cell is not None and not cell.sequential for _, cell in design.placed]
    driver = {
        net: index
        for index, (instance, _) in enumerate(design.placed)
        if gates[index]
        for _, net in instance.outputs
        if net >= 0
    }
    sinks: dict[int, list[int]] = {}
    waiting = [0] * len(gates)
    for index, (instance, _) in enumerate(design.placed):
        for _, net in instance.inputs if gates[index] else ():
            if net in driver:
                sinks.setdefault(net, []).append(index)
                waiting[index] += 1
    ready = deque(index for index, gate in enumerate(gates) if gate and not waiting[index])
    left = sum(gates)
    while ready:
        index = ready.popleft()
        yield index
        left -= 1
        for _, net in design.placed[index][0].outputs:
            for sink in sinks.get(net, ()):
                waiting[sink] -= 1
                if not waiting[sink]:
                    ready.append(sink)
    if left:
        raise ValueError(f"the netlist has a combinational loop: {left} gates are in it or after it")


@dataclass(frozen=True)
class _End:
    """End of a path, and the arrival time there."""

    module: str
    time: float
    """arrival plus setup time"""
    net: int
    edge: int
    name: str


def _ends(design: _Design, timing: _Timing) -> Iterator[_End]:
    """Yield every end of a path: inputs of registers and memories, then outputs of the top module."""
    arrival = timing.arrival
    for instance, cell in design.placed:
        if cell is not None and not cell.sequential:
            continue
        clocks = {arc.related for pin in cell.pins.values() for arc in pin.arcs if arc.clocked} if cell else {"clk"}
        for name, net in instance.inputs:
            if name in clocks or net not in arrival:
                continue
            setups = [arc for arc in cell.pins[name].arcs if arc.setup] if cell else []
            for edge in (0, 1):
                if arrival[net][edge] >= 0:
                    time = arrival[net][edge] + _setup_time(setups, edge, timing.slew[net][edge])
                    yield _End(instance.module, time, net, edge, f"{instance.path}/{name}")
    for name, net in design.outputs:
        for edge in (0, 1):
            if net in arrival and arrival[net][edge] >= 0:
                yield _End("", arrival[net][edge], net, edge, name)


def _setup_time(setups: Sequence[Arc], edge: int, slew: float) -> float:
    """Return the longest setup time of some constraints, for an ideal clock."""
    tables = [table for arc in setups if (table := arc.tables.get(f"{_EDGES[edge]}_constraint")) is not None]
    return max((table(slew, 0.0) for table in tables), default=0.0)


def _traced(end: _End, design: _Design, timing: _Timing) -> LogicPath:
    """Return the longest path to an end, traced back to its start."""
    steps = []
    net, edge = end.net, end.edge
    while (net, edge) in timing.before:
        at = timing.arrival[net][edge]
        index, net, edge = timing.before[net, edge]
        steps.append((design.placed[index][0].kind, at))
    start = design.placed[timing.source[net]][0].path if net in timing.source else "an input"
    return LogicPath(end.time, start, end.name, end.module, steps[::-1])
