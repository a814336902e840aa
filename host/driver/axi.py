"""A machine on AXI buses (`etchnet.hdl.buses.axi`), as the driver sees it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from etchnet.hdl.buses.register import REGISTER_BITS, Access, Source
from etchnet.hdl.buses.registers import BY_NAME, MAGIC, VERSION, counter_registers, parameter_register
from etchnet.hdl.isa import Counter, machine_hash
from etchnet.hdl.isa.config import Config, ConfigError
from etchnet.sim.engines.link import Engine, LinkError, LinkTrace

__all__ = ["AxiEngine", "Bus", "Registers"]


class Bus(ABC):
    """What reaches a machine: its registers through a window of addresses, its streams through a DMA, say.

    Each method raises LinkError where the bus answers with an error, or does not answer.
    """

    @abstractmethod
    def read32(self, offset: int) -> int:
        """The register at byte `offset`."""

    @abstractmethod
    def write32(self, offset: int, value: int) -> None:
        """Write all four bytes of the register at byte `offset`; return when the machine has answered."""

    @abstractmethod
    def transfer(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send `words` to s_axis and receive `count` link words from m_axis, both at once; see `Engine.exchange`."""


class Registers:
    """The registers by name.

    Parameters
    ----------
    bus
        What reaches them.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def read(self, register: str, field: str = "") -> int:
        """A register, or a field of it."""
        found = BY_NAME[register]
        word = self._bus.read32(found.offset)
        return found[field].of(word) if field else word

    def write(self, register: str, **fields: int) -> None:
        """Write the named fields: others stay as they are, no other event is cleared, and nothing else happens."""
        found = BY_NAME[register]
        if found.access is Access.READ_ONLY:
            raise ValueError(f"register {register} cannot be written")
        word = 0
        if any(f.source is Source.STORED and f.name not in fields for f in found.fields):
            word = self._bus.read32(found.offset)
        for name, value in fields.items():
            word = word & ~found[name].mask | found[name].into(value)
        self._bus.write32(found.offset, word)

    def config(self) -> Config:
        """The machine that is there; raises LinkError where there is none, or one of another version."""
        if (magic := self.read("ID")) != MAGIC:
            raise LinkError(f"no machine at this address: register ID should hold {MAGIC:#x}, not {magic:#x}")
        if (major := self.read("VERSION", "MAJOR")) != VERSION[0]:
            raise LinkError(f"the machine's registers must be of version {VERSION[0]}, not {major}")
        values: dict[str, Any] = {}
        for f in dataclasses.fields(Config):
            value, choices = self.read(parameter_register(f.name)), f.metadata.get("choices")
            if choices and value >= len(choices):
                raise LinkError(f"{f.name} of the machine is number {value}, which this driver does not know")
            values[f.name] = choices[value] if choices else value
        try:
            found = Config.from_dict(values)
        except ConfigError as error:
            raise LinkError(f"no machine that this driver knows: {error}") from None
        if (print_ := self.read("FINGERPRINT")) != machine_hash(found):
            raise LinkError(
                f"the machine takes other packets than this driver sends: register FINGERPRINT should hold "
                f"{machine_hash(found):#010x}, not {print_:#010x}"
            )
        return found

    def counters(self) -> dict[Counter, int]:
        """All counters as they are in one cycle, also while a run goes on; they are not cleared."""
        self.write("SNAPSHOT", COUNTERS=1)
        words = {c: [self.read(name) for name in counter_registers(c)] for c in Counter}
        return {c: low | high << REGISTER_BITS for c, (low, high) in words.items()}

    def reset(self) -> None:
        """Reset the machine: runs end, tokens and counters are as after power-up, memories stay.

        What m_axis offers already stays on offer, and its tlast may never come: reset what receives as well.
        """
        self.write("CONTROL", RESET=1)
        self.write("CONTROL", RESET=0)


class AxiEngine(Engine):
    """The machine behind a bus.

    Parameters
    ----------
    bus
        What reaches it.
    config
        The machine that it has to be; by default whatever it says that it is.

    Attributes
    ----------
    registers
        Its registers.
    """

    name = "axi"

    def __init__(self, bus: Bus, config: Config | None = None) -> None:
        self._bus = bus
        self.registers = Registers(bus)
        found = self.registers.config()
        if config is not None and found != config:
            name, wanted = next((n, v) for n, v in config.to_dict().items() if found.to_dict()[n] != v)
            raise LinkError(f"{name} of the machine is {found.to_dict()[name]!r}, not {wanted!r}")
        super().__init__(found)

    @property
    def cycle(self) -> int:
        """Not known: the machine counts the cycles of its runs, in its counters."""
        raise LinkError("a machine on a bus does not count the cycles since its reset")

    @property
    def record(self) -> LinkTrace:
        """Not known: nobody looks at the link in every cycle."""
        raise LinkError("a machine on a bus does not record when words moved")

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send whole packets and receive `count` link words; see `Engine`."""
        return self._bus.transfer(words, count)
