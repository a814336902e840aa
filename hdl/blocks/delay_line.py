"""Shift registers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal

__all__ = ["delay", "delay_line"]


def delay_line(m: Module, value: Any, cycles: int, *, name: str, resets: bool = True) -> list[Any]:
    """`value` and its copies from 1 to `cycles` cycles ago: a list of `cycles` + 1 values.

    With `resets` false the registers keep their contents through a reset: for data that a valid bit beside it
    guards, so that no reset has to reach every register.
    """
    chain = [value]
    for cycle in range(1, cycles + 1):
        stage: Any = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=not resets)
        m.d.sync += stage.eq(chain[-1])
        chain.append(stage)
    return chain


def delay(m: Module, value: Any, cycles: int, *, name: str, resets: bool = True) -> Any:
    """`value` as it was `cycles` cycles ago."""
    return delay_line(m, value, cycles, name=name, resets=resets)[-1]
