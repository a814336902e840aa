"""The Verilator engine: a compiled machine, driven through its links from Python."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace
from etchnet.sim.engines.verilated.library import timed_build

__all__ = ["VerilatorEngine"]

_CYCLES_PER_CALL = 1 << 18
"""cycles between two reports of progress"""


class VerilatorEngine(Engine):
    """An engine that runs the generated Verilog as native code.

    Programs and weights come over the link, so one library per config serves all networks.

    Parameters
    ----------
    config
        The machine.
    trace
        When the link stalls; by default never.
    progress
        Called with `cycle` every 262,144 cycles.
    report
        Called with one line, and if known the finished share, during a build; see `build`.
    patience
        Number of cycles without a transfer after which `exchange` raises LinkError.
    library
        A library to use instead of the one that `build` returns for `config`.
    vcd
        File for waveforms; it is complete when the engine is closed. Its time unit is half a cycle: cycle t begins at
        time 2 t.

    Raises
    ------
    MissingToolError
        Verilator or a C++ compiler is not installed.
    BuildError
        The machine cannot be compiled.
    OSError
        `vcd` cannot be written.
    """

    name = "verilator"

    def __init__(
        self,
        config: Config,
        *,
        trace: LinkTrace | None = None,
        progress: Callable[[int], None] | None = None,
        report: Callable[..., None] | None = None,
        patience: int = 50_000_000,
        library: Path | None = None,
        vcd: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(config, trace=trace)
        self._progress, self._patience = progress, patience
        if library is None:
            library, seconds = timed_build(config, waveforms=vcd is not None, report=report)
            self.origin = "compiled before" if seconds is None else f"compiled in {seconds:.1f} s, now in the cache"
        self._library = lib = ctypes.CDLL(str(library))
        lib.etchnet_new.restype = ctypes.c_void_p
        lib.etchnet_cycle.restype = ctypes.c_int64
        self._offers = np.ascontiguousarray(self.trace.offers, dtype=np.uint8)
        self._accepts = np.ascontiguousarray(self.trace.accepts, dtype=np.uint8)
        arguments = []
        for pattern in (self._offers, self._accepts):
            arguments += [pattern.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(len(pattern))]
        self._machine = ctypes.c_void_p(lib.etchnet_new(*arguments))
        self._vcd = None if vcd is None else os.fspath(vcd)
        if vcd is not None and (number := lib.etchnet_trace(self._machine, os.fsencode(vcd))):
            raise OSError(number, os.strerror(number), self._vcd)
        self._sent: list[np.ndarray] = []
        self._received: list[np.ndarray] = []

    @property
    def cycle(self) -> int:
        """Cycles since reset."""
        return int(self._library.etchnet_cycle(self._open()))

    @property
    def record(self) -> LinkTrace:
        """The cycles in which words moved."""
        sent, received = (np.concatenate(c) if c else np.zeros(0, np.int64) for c in (self._sent, self._received))
        return LinkTrace.recorded(sent.tolist(), received.tolist())

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send whole packets and receive `count` link words; see `Engine`."""
        words = np.ascontiguousarray(words, dtype="<u4").reshape(-1, self.config.link_bits // 32)
        results = np.zeros((count, words.shape[1]), dtype="<u4")
        sent, received = np.zeros(len(words), np.int64), np.zeros(count, np.int64)

        def pointer(array: np.ndarray) -> ctypes.c_void_p:
            return array.ctypes.data_as(ctypes.c_void_p)

        lib, machine = self._library, self._open()
        lib.etchnet_begin(
            machine,
            pointer(words),
            ctypes.c_int64(len(words)),
            pointer(results),
            ctypes.c_int64(count),
            pointer(sent),
            pointer(received),
        )
        while not (state := lib.etchnet_run(machine, ctypes.c_int64(_CYCLES_PER_CALL), ctypes.c_int64(self._patience))):
            if self._progress is not None:
                self._progress(self.cycle)
        if state == -2:
            message = ctypes.c_char_p()
            number = lib.etchnet_failure(ctypes.byref(message))
            if self._vcd is not None:
                raise OSError(number, os.strerror(number), self._vcd)
            raise LinkError(f"Verilator's runtime stopped: {(message.value or b'').decode(errors='replace')}")
        if state < 0:
            moved = [ctypes.c_int64(), ctypes.c_int64()]
            lib.etchnet_progress(machine, *map(ctypes.byref, moved))
            raise LinkError(
                f"nothing moved for {self._patience} cycles: {count - moved[1].value} of {count} words have not come "
                f"back, {len(words) - moved[0].value} have not been sent"
            )
        self._sent.append(sent)
        self._received.append(received)
        return results

    def close(self) -> None:
        """Free the machine, and complete the waveforms; the engine cannot be used afterwards.

        Raises OSError if the waveforms cannot be written.
        """
        with self.lock:
            if not self._machine:
                return
            number = self._library.etchnet_delete(self._machine)
            self._machine = ctypes.c_void_p()
            if number:
                raise OSError(number, os.strerror(number), self._vcd)

    def _open(self) -> ctypes.c_void_p:
        """Return the machine; raises LinkError if the engine is closed."""
        if not self._machine:
            raise LinkError("the engine is closed")
        return self._machine

    def __del__(self) -> None:
        if getattr(self, "_machine", None):
            with suppress(OSError):
                self.close()
