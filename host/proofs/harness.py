"""Harnesses: a component, and beside it, in the same gateware, what is assumed and what is claimed of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.hdl import Elaboratable, Fragment, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.amaranth_internals import driven_signals
from etchnet.host.proofs.netlist import Netlist

__all__ = ["Edit", "Harness", "Peek"]


@dataclass(frozen=True)
class Peek:
    """A further read port of a memory of the component: asynchronous, and only the proof has it."""

    memory: str
    """path of the memory's module within the component, joined by dots"""
    bits: int
    """bits of a word"""


@dataclass(frozen=True)
class Edit:
    """A change of a component, as a control: the statements are added to one of its modules, after its own."""

    name: str
    """what is broken, in a few words"""
    path: str
    """path of the module within the component, joined by dots; empty for the component itself"""
    domain: str
    """``comb`` or ``sync``"""
    statements: Callable[[Mapping[str, Any]], list[Any]]
    """from the signals of the component by path and name, to assignments that win over those of the module"""


class _Elaborated(Elaboratable):
    """A component that is elaborated already."""

    def __init__(self, fragment: Fragment) -> None:
        self._fragment = fragment

    def elaborate(self, platform: Any) -> Fragment:
        """Return it."""
        return self._fragment


class Harness(wiring.Component):
    """A component with auxiliary registers and logic that state what is assumed, invariant and claimed.

    A subclass implements `specify`, which adds them with `assume`, `keep` and `claim`. They are bits, computed in
    every cycle. Everything is gateware: an invariant means what the same expression in a component would mean.

    All inputs of the component and of `extra` are arbitrary in every cycle, except as assumed.

    Parameters
    ----------
    dut
        The component.
    extra
        Further inputs of the harness: shapes by name.
    peeks
        Further read ports of its memories, by name.
    edit
        A change of the component.

    Attributes
    ----------
    ports
        The component's ports, seen from outside.
    inside
        The signals that the component drives, by path and name joined by dots; while it is elaborated.
    """

    def __init__(
        self,
        dut: wiring.Component,
        *,
        extra: Mapping[str, Any] | None = None,
        peeks: Mapping[str, Peek] | None = None,
        edit: Edit | None = None,
    ) -> None:
        self.dut, self.peeks, self._edit = dut, dict(peeks or {}), edit
        self.inside: dict[str, Any] = {}
        self.assumptions: dict[str, Any] = {}
        self.invariants: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.addresses: dict[str, Any] = {}
        super().__init__(
            {
                "ports": Out(dut.signature),
                **{name: In(shape) for name, shape in (extra or {}).items()},
                **{f"peek_{name}": In(peek.bits) for name, peek in self.peeks.items()},
            }
        )

    @cached_property
    def netlist(self) -> Netlist:
        """The netlist of the harness, made once."""
        return Netlist(self)

    def elaborate(self, platform: Any) -> Module:
        """Add the component, edited, and what is said of it."""
        m = Module()
        fragment = Fragment.get(self.dut, platform)
        self.inside = driven_signals(fragment)
        if self._edit is not None:
            module = fragment
            for part in filter(None, self._edit.path.split(".")):
                module = next(sub for sub, name, _ in module.subfragments if name == part)
            module.add_statements(self._edit.domain, *self._edit.statements(self.inside))
        m.submodules.dut = _Elaborated(fragment)
        wiring.connect(m, wiring.flipped(self.ports), self.dut)
        self.specify(m)
        return m

    def specify(self, m: Module) -> None:
        """Add the auxiliary logic, and all that is assumed, invariant and claimed."""
        raise NotImplementedError

    def assume(self, m: Module, name: str, condition: Value) -> None:
        """Assume that a condition holds in every cycle."""
        self._bit(m, self.assumptions, "assume", name, condition)

    def keep(self, m: Module, name: str, condition: Value) -> None:
        """State an invariant: it is proved to hold in every cycle, for the sake of the claims."""
        self._bit(m, self.invariants, "keep", name, condition)

    def claim(self, m: Module, name: str, condition: Value) -> None:
        """Claim that a condition holds in every cycle."""
        self._bit(m, self.claims, "claim", name, condition)

    def peek(self, m: Module, name: str, address: Any) -> Any:
        """Return the word of a memory at an address in this cycle, by the further read port `name`."""
        signal: Any = Signal(len(address), name=f"peek_{name}_address")
        m.d.comb += signal.eq(address)
        self.addresses[name] = signal
        return getattr(self, f"peek_{name}")

    @staticmethod
    def _bit(m: Module, found: dict[str, Any], kind: str, name: str, condition: Value) -> None:
        if len(condition) != 1:
            raise ValueError(f"{name} must be one bit, not {len(condition)}")
        signal = Signal(name=f"{kind}_{name}")
        m.d.comb += signal.eq(condition)
        found[name] = signal
