"""Shift registers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal

__all__ = ["delay", "delay_line"]


def delay_line(m: Module, value: Any, cycles: int, *, name: str, resets: bool = True) -> list[Any]:
    """Return `value` as it was 0, 1, ... `cycles` cycles ago: a list of `cycles` + 1 values.

    Registers are called `name`_1, `name`_2, ... With `resets` false a reset does not reach them: for data next to a
    valid bit that is reset.
    """
    chain = [value]
    for cycle in range(1, cycles + 1):
        stage: Any = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=not resets)
        m.d.sync += stage.eq(chain[-1])
        chain.append(stage)
    return chain


def delay(m: Module, value: Any, cycles: int, *, name: str, resets: bool = True) -> Any:
    """Return `value` as it was `cycles` cycles ago; see `delay_line`."""
    return delay_line(m, value, cycles, name=name, resets=resets)[-1]
