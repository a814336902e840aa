"""Submodules: plain ones in simulation, one module per distinct component in generated Verilog."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from amaranth.hdl import Instance, Module, ResetInserter, Value
from amaranth.lib import wiring

__all__ = ["ModulePlatform", "module_name", "port_name", "ports_of", "submodule"]


@runtime_checkable
class ModulePlatform(Protocol):
    """A platform that emits one module for every distinct component."""

    def instance(self, name: str, component: wiring.Component, *, reset: Value | None = None) -> Instance:
        """Return an instance of the module `name`, connected to the ports of `component`; `reset` resets it too.

        Components with the same name must be identical apart from their port signals; only the first is elaborated.
        """
        ...


def module_name(component: wiring.Component, variant: str = "") -> str:
    """Return the name of a component's module: that of its class, and `variant` if components of the class differ."""
    kind = "".join("_" + c.lower() if c.isupper() else c for c in type(component).__name__)
    return f"etchnet{kind}{variant and '_' + variant}"


def port_name(path: tuple[str | int, ...]) -> str:
    """Return the name in Verilog of a port, or of a part of one, by its path in the component's signature."""
    return "_".join(map(str, path))


def ports_of(component: wiring.Component) -> dict[str, tuple[Value, None]]:
    """Return the ports of a component by name, without those of no bits; directions follow from what drives them."""
    ports = {port_name(path): Value.cast(value) for path, _, value in component.signature.flatten(component)}
    return {name: (value, None) for name, value in ports.items() if len(value)}


def submodule(
    m: Module,
    platform: Any,
    label: str,
    component: wiring.Component,
    *,
    variant: str = "",
    reset: Value | None = None,
) -> None:
    """Add `component` to `m` as `label`; components of one class that differ must differ in `variant`.

    `reset` is a signal that resets its registers synchronously, in addition to the reset of the clock domain.
    """
    if isinstance(platform, ModulePlatform):
        m.submodules[label] = platform.instance(module_name(component, variant), component, reset=reset)
    elif reset is not None:
        m.submodules[label] = ResetInserter(reset)(component)
    else:
        m.submodules[label] = component
