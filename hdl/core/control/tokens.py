"""The tokens with which the links and the sequencer wait for each other."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.semaphore import Semaphore

__all__ = ["TOKENS", "WEIGHT_TOKENS", "Tokens"]

WEIGHT_TOKENS = 255
"""committed weights packets, and permissions for further ones, that may be outstanding at once"""

TOKENS = {
    "input_free": (2, 2),
    "input_full": (0, 2),
    "output_free": (2, 2),
    "output_full": (0, 2),
    "weights_free": (0, WEIGHT_TOKENS),
    "weights_full": (0, WEIGHT_TOKENS),
}
"""count after reset, and maximum count, of each semaphore"""


class Tokens(wiring.Component):
    """Six semaphores: free and full halves of the input and output memories, permitted and committed weights packets.

    Every port is the interface of one `Semaphore`, with `put`, `take`, `available` and `count`.

    ============  =========  ===================  ========================================================
    port          direction  shape                meaning
    ============  =========  ===================  ========================================================
    input_free    out        `Semaphore` members  halves of the input memory that an INPUT packet may take
    input_full    out        `Semaphore` members  halves of the input memory that are committed
    output_free   out        `Semaphore` members  halves of the output memory that a pass may take
    output_full   out        `Semaphore` members  halves of the output memory that are committed
    weights_free  out        `Semaphore` members  weights packets that are permitted
    weights_full  out        `Semaphore` members  weights packets that are committed
    ============  =========  ===================  ========================================================

    The tokens are put and taken by:

    ============  ================================================  ==================================================
    token         puts                                              takes
    ============  ================================================  ==================================================
    input_free    sequencer, after the last pass that reads a half  loader, with the first word of an input
    input_full    loader, with the last word of an input            sequencer, after the last pass that reads a half
    output_free   sender, with the last word of a half              sequencer, before the first pass that needs a half
    output_full   output stage, with the last write of a half       sender, with its last read of a half
    weights_free  sequencer, after the last use of a tile           loader, with the first word of a weights packet
    weights_full  loader, with the last word of a weights packet    sequencer, before the first pass that uses it
    ============  ================================================  ==================================================
    """

    def __init__(self) -> None:
        self._semaphores = {
            name: Semaphore(initial=initial, maximum=maximum) for name, (initial, maximum) in TOKENS.items()
        }
        super().__init__({name: Out(semaphore.signature) for name, semaphore in self._semaphores.items()})

    def elaborate(self, platform: Any) -> Module:
        """Add the semaphores."""
        m = Module()
        for name, semaphore in self._semaphores.items():
            submodule(m, platform, name, semaphore, variant=semaphore.variant)
            wiring.connect(m, wiring.flipped(getattr(self, name)), semaphore)
        return m
