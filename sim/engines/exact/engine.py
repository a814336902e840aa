"""The exact engine: follows tokens between the processes of the machine, and computes results with numpy.

Because time never depends on data, a run splits into two independent parts. The timing part follows tokens between
three processes: loader, sequencer and sender. They wait only for one another's tokens, and each knows the cycle of its
next token from the config, the program and the link's trace. The functional part (`etchnet.sim.functional.datapath`)
computes whole layers at a time, for many repeats of a run at once.
"""

from __future__ import annotations

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.exact.loader import LoaderProcess
from etchnet.sim.engines.exact.sender import SenderProcess
from etchnet.sim.engines.exact.sequencer import SequencerProcess
from etchnet.sim.engines.exact.shared import SharedState
from etchnet.sim.engines.exact.tokens import ReadyPattern
from etchnet.sim.engines.history import History
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace

__all__ = ["ExactEngine"]

_DONE = object()


class ExactEngine(Engine):
    """An engine that computes outputs with numpy, and the cycle of every event without stepping through cycles.

    It equals the gateware in every output bit, every counter and the cycle of every link word. A program is checked
    when it is first run: `exchange` raises `ProgramError` if the program breaks a rule of the machine.

    Parameters
    ----------
    config
        The machine.
    trace
        When the link stalls; by default never.
    history
        Whether to keep `history`, for `etchnet.sim.state`.

    Attributes
    ----------
    history
        The events of every run, and every packet that wrote a memory; None unless the engine keeps a history.
    """

    name = "exact"

    def __init__(self, config: Config, *, trace: LinkTrace | None = None, history: bool = False) -> None:
        super().__init__(config, trace=trace)
        self.history = History() if history else None
        self._cycle = 0
        shared = SharedState(config, self.history)
        self._progress = shared.progress
        self._loader = LoaderProcess(shared, ReadyPattern(self.trace.offers))
        sequencer = SequencerProcess(shared, self._loader)
        self._sender = SenderProcess(shared, ReadyPattern(self.trace.accepts), self._loader, sequencer)
        self._processes = [sequencer.run(), self._sender.send(), self._sender.answer()]

    @property
    def kept_history(self) -> History:
        """`history`; raises ValueError if the engine keeps none."""
        if self.history is None:
            raise ValueError("the engine has no history: make it with history=True")
        return self.history

    @property
    def cycle(self) -> int:
        """Cycles since reset."""
        return self._cycle

    @property
    def record(self) -> LinkTrace:
        """The cycles in which words moved."""
        return LinkTrace.recorded(self._loader.sent.cycles(), self._sender.received.cycles())

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Follow the tokens until the packets are taken and `count` words have left; see `Engine`."""
        loader, sender = self._loader, self._sender
        loader.offered = max(loader.offered, self._cycle)
        sender.free = max(sender.free, self._cycle)
        sender.wanted += count
        target = sender.received.count + count
        loading = loader.load(words)
        loaded = False
        while not (loaded and sender.received.count >= target):
            before = self._progress.events
            if not loaded:
                loaded = next(loading, _DONE) is _DONE
            for process in self._processes:
                next(process)
            if self._progress.events == before and not (loaded and sender.received.count >= target):
                missing = target - sender.received.count
                raise LinkError(
                    f"the machine waits and nothing moves: {missing} of {count} words have not come back"
                    + ("" if loaded else ", and some packets have not been sent")
                )
        moved = [loader.sent.last] if len(words) else []
        moved += [sender.received.last] if count else []
        self._cycle = max([self._cycle, *(t + 1 for t in moved)])
        return sender.collect(count)
