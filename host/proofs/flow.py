"""Which bits of a netlist can differ between two runs whose data differ: what data reach, over any number of cycles."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from etchnet.host.proofs.netlist import Netlist

__all__ = ["DataFlow"]


class DataFlow:
    """The nets that data reach: a net is reached if any input of the logic or register that drives it is reached.

    It is the cone of influence of the data, bit by bit, and errs on the side of reaching too much: a data bit that is
    ANDed with 0 counts as an influence. A net that is not reached has the same value in two runs whose data differ.

    Reading a memory that holds data reaches the data read; `hold_data` names such memories one by one.

    Parameters
    ----------
    netlist
        The netlist.
    barriers
        Nets through which nothing is followed: what is known about them is proved elsewhere.
    """

    def __init__(self, netlist: Netlist, *, barriers: Iterable[int] = ()) -> None:
        self.netlist = netlist
        self.barriers = frozenset(barriers)
        self.causes: dict[int, int | None] = {}
        """every net that is reached, with the net from which; None for a source"""
        self.memories: set[int] = set()
        """memories that hold data"""
        self._outputs: list[tuple[int, ...]] = []
        self._groups: dict[int, list[int]] = defaultdict(list)
        for _, inputs, outputs in netlist.edges():
            self._connect(inputs, tuple(outputs))
        for register in netlist.registers.values():
            raw = netlist.cell(register.cell)
            if register.memory is None:
                for net, bit in zip(raw.data, register.bits, strict=True):
                    self._connect((net,), (bit,))
            else:
                self._connect((*raw.addr, raw.en), register.bits)

    def _connect(self, inputs: Iterable[int], outputs: tuple[int, ...]) -> None:
        group = len(self._outputs)
        self._outputs.append(outputs)
        for net in inputs:
            self._groups[int(net)].append(group)

    def reach(self, sources: Iterable[int]) -> None:
        """Add sources of data, and all that they reach."""
        self._spread((int(net), None) for net in sources)

    def hold_data(self, memory: int) -> None:
        """Add a memory that holds data, and all that its read ports reach."""
        self.memories.add(memory)
        for port in self.netlist.memories[memory].reads:
            register = self.netlist.registers.get(port)
            if register is not None:
                self.reach(register.bits)
            else:
                raw = self.netlist.cell(port)
                self.reach(self.netlist.output(port, bit) for bit in range(raw.width))

    def _spread(self, found: Iterable[tuple[int, int | None]]) -> None:
        queue = deque(found)
        while queue:
            net, cause = queue.popleft()
            if net in self.causes or net in self.barriers or net in (0, 1):
                continue
            self.causes[net] = cause
            for group in self._groups.get(net, ()):
                queue.extend((output, net) for output in self._outputs[group] if output not in self.causes)

    def is_reached(self, net: int) -> bool:
        """Return whether data reach a net."""
        return int(net) in self.causes

    def within_cycle(self, sources: Iterable[int]) -> set[int]:
        """Return the nets that depend on some nets in the same cycle, these included."""
        registers = {bit for register in self.netlist.registers.values() for bit in register.bits}
        found = {int(net) for net in sources}
        queue = deque(found)
        while queue:
            for group in self._groups.get(queue.popleft(), ()):
                for output in self._outputs[group]:
                    if output not in found and output not in registers:
                        found.add(output)
                        queue.append(output)
        return found

    def path(self, net: int) -> list[int]:
        """Return the nets from a source of data to a net that is reached."""
        steps: list[int] = []
        following: int | None = int(net)
        while following is not None:
            steps.append(following)
            following = self.causes[following]
        return steps[::-1]

    def explain(self, net: int) -> str:
        """Describe a net that is reached: the named signals on the way from a source, the last few of them."""
        names: list[str] = []
        for step in self.path(net):
            name = self.netlist.describe(step)
            if not name.endswith("?") and (not names or names[-1] != name):
                names.append(name)
        shown = names if len(names) <= 6 else [names[0], "...", *names[-4:]]
        return " -> ".join(shown)
