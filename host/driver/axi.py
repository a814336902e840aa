"""The engine for a machine on AXI buses (`etchnet.hdl.buses.axi`)."""

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
    """Access to a machine on AXI buses: its registers, often memory-mapped, and its streams, often by DMA.

    Implement the three methods for a platform. Each must raise LinkError if the bus responds with an error or does not
    respond.
    """

    @abstractmethod
    def read32(self, offset: int) -> int:
        """Read the register at byte `offset`."""

    @abstractmethod
    def write32(self, offset: int, value: int) -> None:
        """Write all four bytes of the register at byte `offset`; return once the machine has responded."""

    @abstractmethod
    def transfer(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send `words` to s_axis and receive `count` link words from m_axis at the same time; see `Engine.exchange`."""


class Registers:
    """The registers of a machine, by name.

    Parameters
    ----------
    bus
        Access to the machine.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def read(self, register: str, field: str = "") -> int:
        """Read a register, or one field of it."""
        found = BY_NAME[register]
        word = self._bus.read32(found.offset)
        return found[field].of(word) if field else word

    def write(self, register: str, **fields: int) -> None:
        """Write only the named fields of a register.

        Other stored fields keep their values; no other event is cleared, and no other command is given. Raises
        ValueError if the register is read-only.
        """
        found = BY_NAME[register]
        if found.access is Access.READ_ONLY:
            raise ValueError(f"register {register} is read-only")
        word = 0
        if any(f.source is Source.STORED and f.name not in fields for f in found.fields):
            word = self._bus.read32(found.offset)
        for name, value in fields.items():
            word = word & ~found[name].mask | found[name].into(value)
        self._bus.write32(found.offset, word)

    def config(self) -> Config:
        """Read the config of the machine; raises LinkError if there is none, or one that this driver cannot use."""
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
        if (fingerprint := self.read("FINGERPRINT")) != machine_hash(found):
            raise LinkError(
                f"the machine's packets differ from those of this driver: register FINGERPRINT should hold "
                f"{machine_hash(found):#010x}, not {fingerprint:#010x}"
            )
        return found

    def counters(self) -> dict[Counter, int]:
        """Read all counters, as they were in one cycle; this works during a run too, and does not clear them."""
        self.write("SNAPSHOT", COUNTERS=1)
        words = {c: [self.read(name) for name in counter_registers(c)] for c in Counter}
        return {c: low | high << REGISTER_BITS for c, (low, high) in words.items()}

    def reset(self) -> None:
        """Reset the machine: runs end, tokens and counters are as after power-up, memories keep their contents.

        A word that m_axis already offers stays valid, but its packet may never end with tlast. Reset the receiver too.
        """
        self.write("CONTROL", RESET=1)
        self.write("CONTROL", RESET=0)


class AxiEngine(Engine):
    """The engine for a machine on a bus.

    Parameters
    ----------
    bus
        Access to the machine.
    config
        The config that the machine must have; None takes the config that it reports.

    Attributes
    ----------
    registers
        The registers of the machine.

    Raises
    ------
    LinkError
        There is no machine on the bus, or it has another config.
    """

    name = "axi"

    def __init__(self, bus: Bus, config: Config | None = None) -> None:
        self._bus = bus
        self.registers = Registers(bus)
        found = self.registers.config()
        if config is not None and found != config:
            name, wanted = next((n, v) for n, v in config.to_dict().items() if found.to_dict()[n] != v)
            raise LinkError(f"{name} of the machine must be {wanted!r}, not {found.to_dict()[name]!r}")
        super().__init__(found)

    @property
    def cycle(self) -> int:
        """Not available: raises LinkError. The machine's counters count the cycles of runs."""
        raise LinkError("a machine on a bus does not count the cycles since its reset")

    @property
    def record(self) -> LinkTrace:
        """Not available: raises LinkError. Nothing observes the link in every cycle."""
        raise LinkError("a machine on a bus does not record when words moved")

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        """Send whole packets and receive `count` link words; see `Engine`."""
        return self._bus.transfer(words, count)
