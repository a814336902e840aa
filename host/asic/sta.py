"""Mapped netlists that Yosys wrote as JSON: what is in each module, and the longest path through all of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from etchnet.host.asic.liberty import Arc, Cell, Pin, Table

__all__ = ["Instance", "LogicPath", "Netlist", "UnitCells", "longest_paths"]

_EDGES = ("rise", "fall")
_CONSTANT = Table([0.0], [0.0], [[0.0]])
_LEVEL = Table([0.0], [0.0], [[1.0]])
_BUFFER_TABLES = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
_Changes = tuple[tuple[int, int], ...]
_SENSES: dict[str, _Changes] = {"positive_unate": ((0, 0), (1, 1)), "negative_unate": ((1, 0), (0, 1))}
FANOUT = 16
"""pins that a net drives without a tree of buffers"""
_BOTH: _Changes = ((0, 0), (1, 0), (0, 1), (1, 1))


@dataclass(frozen=True)
class Instance:
    """A cell somewhere in the design that is no module of it."""

    path: str
    """where it is; a flip-flop is called after what it drives"""
    module: str
    """the module that it stands in"""
    kind: str
    """its cell"""
    inputs: list[tuple[str, int]]
    """pins and nets; pins at a constant are left out"""
    outputs: list[tuple[str, int]]


class Netlist:
    """A design as `write_json` writes it.

    Parameters
    ----------
    data
        The JSON object.
    top
        Its top module.
    """

    def __init__(self, data: Mapping[str, Any], top: str) -> None:
        def black(module: Mapping[str, Any]) -> bool:
            return any(int(str(module.get("attributes", {}).get(name, "0")), 2) for name in ("blackbox", "whitebox"))

        self.modules: dict[str, Any] = {name: m for name, m in data["modules"].items() if not black(m)}
        self.top = top

    def counts(self, module: str) -> Counter[str]:
        """Cells that stand in a module itself, by kind; other modules are kinds too."""
        return Counter(cell["type"] for cell in self.modules[module]["cells"].values() if cell["type"] != "$scopeinfo")

    def instances(self) -> Counter[str]:
        """How often each module is in the design."""
        total: Counter[str] = Counter()

        def add(module: str, times: int) -> None:
            total[module] += times
            for kind, count in self.counts(module).items():
                if kind in self.modules:
                    add(kind, times * count)

        add(self.top, 1)
        return total

    def expand(self, cells: Mapping[str, Cell]) -> tuple[list[Instance], dict[str, list[int]]]:
        """Every cell of the design, and the nets of the top module's ports; -1 is a constant.

        `cells` say which pins of the library's cells are inputs: the file does not.
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
            pins: dict[bool, list[tuple[str, int]]] = {True: [], False: []}
            directions = cell.get("port_directions") or {n: p.direction for n, p in cells[kind].pins.items()}
            for pin, bits in connections.items():
                into_cell = directions[pin] == "input"
                pins[into_cell] += [(pin, n) for bit in bits if (n := net(bit)) >= 0 or not into_cell]
            into.append(Instance(path + name, module, kind, pins[True], pins[False]))

    def _names(self, module: str) -> dict[int, str]:
        """What the Verilog calls the nets that flip-flops of a module drive; the shortest name of each."""
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


class UnitCells(Mapping[str, Cell]):
    """Yosys's own gates, each of which takes one level of logic and no area."""

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
    """From a register, a memory or an input to the next register or memory, or an output."""

    delay: float
    """from clock edge to clock edge: with the first register's own delay and the last one's setup time"""
    start: str
    end: str
    end_module: str
    steps: list[tuple[str, float]] = field(repr=False)
    """the cells on the way, without the registers: their kinds, and when their outputs have changed"""

    @property
    def levels(self) -> int:
        """Gates on the way."""
        return len(self.steps)


@dataclass(frozen=True)
class _Buffer:
    """A cell that passes its input on."""

    capacitance: float
    delay: list[Table]
    """of a rising and of a falling output"""
    transition: list[Table]

    @classmethod
    def best(cls, cells: Mapping[str, Cell]) -> _Buffer | None:
        """The buffer that drives `FANOUT` of itself fastest."""
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
            load = FANOUT * buffer.capacitance
            ramp = buffer.transition[0](0.0, load)
            return max(delay(ramp, load) for delay in buffer.delay)

        return min(found, key=stage, default=None)


def ceil_log(value: int, base: int) -> int:
    """The smallest n with base ** n >= value."""
    n = 0
    while base**n < value:
        n += 1
    return n


def longest_paths(
    netlist: Netlist, cells: Mapping[str, Cell], *, report: Callable[[str, float], None] = lambda text, share: None
) -> list[LogicPath]:
    """The longest path that ends in each module, and at the top's outputs (`end_module` is empty), longest first.

    Wires have no delay and no capacitance. The clock is ideal. Inputs and the outputs of cells that are not in `cells`
    (memories) change at the clock edge; their inputs need no setup time. Loads are the capacitances of the pins that a
    net drives. A net of more than `FANOUT` pins gets, as in layout, a tree of buffers of so many branches, where the
    library has one. Where several arcs lead to a net, the latest arrival and the longest transition count.

    Raises
    ------
    ValueError
        There is a loop of gates.
    """
    instances, ports = netlist.expand(cells)
    directions = {name: port["direction"] for name, port in netlist.modules[netlist.top]["ports"].items()}
    inputs = [net for name, nets in ports.items() if directions[name] == "input" for net in nets]
    load: dict[int, float] = {}
    fanout: dict[int, int] = {}
    buffer = _Buffer.best(cells)
    sinks: dict[int, list[int]] = {}
    waiting = [0] * len(instances)
    driven: dict[int, int] = {}
    known = [cells.get(i.kind) for i in instances]
    for index, (instance, cell) in enumerate(zip(instances, known, strict=True)):
        for pin, net in instance.inputs:
            if cell is not None and pin in cell.pins:
                load[net] = load.get(net, 0.0) + cell.pins[pin].capacitance
                fanout[net] = fanout.get(net, 0) + 1
        for _, net in instance.outputs:
            if net >= 0 and cell is not None and not cell.sequential:
                driven[net] = index
    for index, (instance, cell) in enumerate(zip(instances, known, strict=True)):
        if cell is not None and not cell.sequential:
            for _, net in instance.inputs:
                if net in driven:
                    sinks.setdefault(net, []).append(index)
                    waiting[index] += 1

    arrival: dict[int, list[float]] = {net: [0.0, 0.0] for net in inputs}
    slew: dict[int, list[float]] = {net: [0.0, 0.0] for net in inputs}
    before: dict[tuple[int, int], tuple[int, int, int]] = {}  # (net, edge) to (instance, net, edge)
    source: dict[int, int] = {}

    def put(index: int, pin: Pin, net: int, nets: Mapping[str, int]) -> None:
        times, slews = [-1.0, -1.0], [0.0, 0.0]
        capacitance, stages = load.get(net, 0.0), 0
        if buffer is not None and fanout.get(net, 0) > FANOUT:
            last = FANOUT * capacitance / fanout[net]
            stages = ceil_log(fanout[net], FANOUT) - 1
            capacitance = FANOUT * buffer.capacitance
        for arc in pin.arcs:
            if arc.clocked:
                origin, changes = None, _BOTH
            elif arc.combinational and arc.related in nets:
                origin, changes = nets[arc.related], _SENSES.get(arc.sense, _BOTH)
                if origin not in arrival:
                    continue
            else:
                continue
            for edge_in, edge in changes:
                delay = arc.tables.get(f"cell_{_EDGES[edge]}")
                if delay is None:
                    continue
                start, ramp = (0.0, 0.0) if origin is None else (arrival[origin][edge_in], slew[origin][edge_in])
                if start < 0:
                    continue
                time = start + delay(ramp, capacitance)
                if time > times[edge]:
                    times[edge] = time
                    if origin is not None:
                        before[net, edge] = (index, origin, edge_in)
                transition = arc.tables.get(f"{_EDGES[edge]}_transition")
                if transition is not None:
                    slews[edge] = max(slews[edge], transition(ramp, capacitance))
        for stage in range(stages):
            assert buffer is not None
            branch = last if stage == stages - 1 else capacitance
            for edge in (0, 1):
                if times[edge] >= 0:
                    times[edge] += buffer.delay[edge](slews[edge], branch)
                    slews[edge] = buffer.transition[edge](slews[edge], branch)
        if max(times) >= 0:
            arrival[net], slew[net] = times, slews

    for index, (instance, cell) in enumerate(zip(instances, known, strict=True)):
        if cell is None or cell.sequential:
            for name, net in instance.outputs:
                if net >= 0:
                    source[net] = index
                    if cell is None:
                        arrival[net], slew[net] = [0.0, 0.0], [0.0, 0.0]
                    else:
                        put(index, cell.pins[name], net, {})
    ready = deque(i for i, cell in enumerate(known) if cell is not None and not cell.sequential and not waiting[i])
    done, total = 0, sum(cell is not None and not cell.sequential for cell in known)
    while ready:
        index = ready.popleft()
        instance, cell = instances[index], known[index]
        assert cell is not None
        nets = dict(instance.inputs)
        for name, net in instance.outputs:
            if net < 0:
                continue
            put(index, cell.pins[name], net, nets)
            for sink in sinks.get(net, ()):
                waiting[sink] -= 1
                if not waiting[sink]:
                    ready.append(sink)
        done += 1
        if not done % 5000:
            report("timing", done / total)
    if done < total:
        raise ValueError(f"{total - done} gates are in or behind a loop of gates")

    worst: dict[str, tuple[float, int, int, str]] = {}

    def consider(module: str, time: float, net: int, edge: int, end: str) -> None:
        if module not in worst or time > worst[module][0]:
            worst[module] = (time, net, edge, end)

    for instance, cell in zip(instances, known, strict=True):
        if cell is not None and not cell.sequential:
            continue
        clocks = {arc.related for pin in cell.pins.values() for arc in pin.arcs if arc.clocked} if cell else {"clk"}
        for name, net in instance.inputs:
            if name in clocks or net not in arrival:
                continue
            setups = [arc for arc in cell.pins[name].arcs if arc.setup] if cell else []
            for edge in (0, 1):
                if arrival[net][edge] < 0:
                    continue
                tables = [t for arc in setups if (t := arc.tables.get(f"{_EDGES[edge]}_constraint")) is not None]
                setup = max((table(slew[net][edge], 0.0) for table in tables), default=0.0)
                consider(instance.module, arrival[net][edge] + setup, net, edge, f"{instance.path}/{name}")
    for name in (name for name in ports if directions[name] == "output"):
        for net in ports[name]:
            for edge in (0, 1):
                if net in arrival and arrival[net][edge] >= 0:
                    consider("", arrival[net][edge], net, edge, name)

    paths = []
    for module, (time, net, edge, end) in worst.items():
        steps = []
        while (net, edge) in before:
            at = arrival[net][edge]
            index, net, edge = before[net, edge]
            steps.append((instances[index].kind, at))
        start = instances[source[net]].path if net in source else "an input"
        paths.append(LogicPath(time, start, end, module, steps[::-1]))
    return sorted(paths, key=lambda p: -p.delay)
