"""The link between host and machine, as the driver sees it: words out, words back, and a clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError

__all__ = ["Disagreement", "Engine", "LinkError", "LinkTrace"]


class Disagreement(EtchnetError, RuntimeError):
    """Different results of two engines, or of an engine and a reference, that must agree."""


class LinkError(EtchnetError, RuntimeError):
    """A link on which no word moves any more, or words that do not form whole packets."""


@dataclass(frozen=True, repr=False)
class LinkTrace:
    """The cycles in which the host is ready to send a word, and to receive one.

    Both patterns are bool, with one entry per cycle since reset. After the end of a pattern the host is always ready.

    Attributes
    ----------
    offers
        The cycles in which the host may start to offer its next word. It keeps offering the word until it is taken.
    accepts
        The cycles in which the host may take a word.
    """

    offers: Sequence[bool] | np.ndarray = ()
    accepts: Sequence[bool] | np.ndarray = ()

    @classmethod
    def recorded(cls, sent: Sequence[int] | np.ndarray, received: Sequence[int] | np.ndarray) -> LinkTrace:
        """Return the trace of a link that was ready in exactly these cycles, up to the last of them.

        Parameters
        ----------
        sent, received
            Ascending cycles in which words were sent to the machine, and received from it.
        """
        patterns = []
        for cycles in (sent, received):
            ready = np.zeros(cycles[-1] + 1 if len(cycles) else 0, dtype=bool)
            ready[np.asarray(cycles, np.int64)] = True
            patterns.append(ready)
        return cls(*patterns)

    def __repr__(self) -> str:
        offers, accepts = (
            f"{name} in {np.count_nonzero(pattern)} of {len(pattern)} cycles"
            for name, pattern in (("offers", self.offers), ("accepts", self.accepts))
        )
        return f"<LinkTrace: {offers}, {accepts}, then always>"


class Engine(ABC):
    """One machine, real or simulated, that the driver reaches through its two links.

    The clock runs only during `exchange`. All engines take the same link words and return the same link words. Engines
    that simulate also transfer them in the same cycles. One thread at a time may use an engine: the one that holds
    `lock`.

    Parameters
    ----------
    config
        The machine.
    trace
        When the link stalls; by default never.

    Attributes
    ----------
    name
        The name with which users choose the engine.
    clock_hz
        The clock frequency of a real machine, in Hz; None if the machine is simulated.
    lock
        The lock that the driver holds while it uses the engine. The thread that holds it may take it again.
    loaded
        The program that the driver has put into the machine, or None; only for the thread that holds `lock`.
    interrupted
        Whether a transfer by the driver has not ended, or ended with an exception: words of it may still be under way.
    origin
        Where the machine comes from, in words, if making one takes noticeable time; else empty.
    """

    name: str
    clock_hz: float | None = None
    origin: str = ""

    def __init__(self, config: Config, *, trace: LinkTrace | None = None) -> None:
        self.config = config
        self.trace = trace or LinkTrace()
        self.lock = RLock()
        self.loaded: object = None
        self.interrupted = False

    def was_reset(self) -> None:
        """Record that the machine has been reset: no words are under way, and the driver has put no program into it."""
        self.loaded, self.interrupted = None, False

    def __repr__(self) -> str:
        config = self.config
        return f"<{type(self).__name__}: {config.rows} x {config.columns} machine, {config.contract}>"

    @property
    @abstractmethod
    def cycle(self) -> int:
        """Cycles since reset."""

    @property
    @abstractmethod
    def record(self) -> LinkTrace:
        """The cycles in which words moved on the link so far."""

    @abstractmethod
    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send whole packets while receiving `count` link words; return as soon as both are done.

        Parameters
        ----------
        words
            Packets, one after another: uint32 of shape (link words, link_bits / 32).
        count
            Link words to receive. Further words stay in the machine until a later exchange.

        Returns
        -------
        np.ndarray
            uint32 of shape (count, link_bits / 32).

        Raises
        ------
        LinkError
            Words are outstanding, and no word moves any more.
        """

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Release what the engine holds, and complete the files that it writes."""
