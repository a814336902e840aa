"""The link between host and machine, as the driver sees it: words out, words back, and a clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError

__all__ = ["Disagreement", "Engine", "LinkError", "LinkTrace"]


class Disagreement(EtchnetError, RuntimeError):
    """Two engines, or an engine and a reference, that must agree and do not."""


class LinkError(EtchnetError, RuntimeError):
    """The machine and its host wait for each other, or for something that never comes."""


@dataclass(frozen=True)
class LinkTrace:
    """When the two ends of the link that are not the machine are willing to move a word.

    `offers` and `accepts` are bool, one entry per cycle since reset; beyond their end the link is always willing. The
    source starts to offer its next word in a cycle with `offers`, and then keeps offering it until it is taken; the
    sink takes a word in a cycle with `accepts`.
    """

    offers: Sequence[bool] | np.ndarray = ()
    accepts: Sequence[bool] | np.ndarray = ()

    @classmethod
    def recorded(cls, sent: Sequence[int] | np.ndarray, received: Sequence[int] | np.ndarray) -> LinkTrace:
        """The trace of a link that was willing in just these cycles, up to the last of them."""
        traces = []
        for cycles in (sent, received):
            willing = np.zeros(cycles[-1] + 1 if len(cycles) else 0, dtype=bool)
            willing[np.asarray(cycles, np.int64)] = True
            traces.append(willing)
        return cls(*traces)


class Engine(ABC):
    """A machine behind a link.

    Parameters
    ----------
    config
        The machine.
    trace
        When the link stalls; by default never.
    """

    name: str
    clock_hz: float | None = None
    """the clock of a machine that is real"""

    def __init__(self, config: Config, *, trace: LinkTrace | None = None) -> None:
        self.config = config
        self.trace = trace or LinkTrace()

    @property
    @abstractmethod
    def cycle(self) -> int:
        """Cycles since reset; the clock only runs during `exchange`."""

    @property
    @abstractmethod
    def record(self) -> LinkTrace:
        """The link so far: the cycles in which words moved."""

    @abstractmethod
    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send whole packets and receive `count` link words, both at once; return as soon as both are done.

        Parameters
        ----------
        words
            uint32 of shape (link words, link_bits / 32).
        count
            Link words to receive.

        Returns
        -------
        uint32 of shape (count, link_bits / 32).

        Raises
        ------
        LinkError
            Nothing moves any more and words are still outstanding.
        """

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Give back what the engine holds."""
