"""A memory split into banks, so that the output of every block RAM goes straight to a register."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.utils import ceil_log2

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.technology import technology_of

__all__ = ["BANK_WORDS", "BankedRam"]

BANK_WORDS = 2048
"""words of a bank: the number of bytes that fit one block RAM of common FPGAs"""


class BankedRam(wiring.Component):
    """A `Ram` with a read latency of 2 or more that selects the bank after the banks' output registers.

    Ports, timing and contents are those of the `Ram` that it replaces. From a plain description, synthesis would put
    the multiplexer between block RAM and register: the block RAM's output, which takes most of a cycle, would also have
    to cross the device and the multiplexer within that cycle. Registers in front of the memory are not shared with
    other memories, even if these have the same inputs.

    Parameters
    ----------
    ram
        The memory to replace. Raises ValueError if its latency is below `BANK_LATENCY`.
    """

    BANK_LATENCY = 2
    """read latency of a bank: the block RAM and its register"""

    def __init__(self, ram: Ram) -> None:
        if ram.latency < self.BANK_LATENCY:
            raise ValueError(f"ram must have a latency of at least {self.BANK_LATENCY}, not {ram.latency}")
        self.ram = ram
        super().__init__(dict(ram.signature.members))

    @classmethod
    def suits(cls, ram: Ram) -> bool:
        """Return whether `ram` should be banked: it has more register stages than a bank, or as many and more words."""
        return ram.latency > cls.BANK_LATENCY or (ram.latency == cls.BANK_LATENCY and ram.depth > BANK_WORDS)

    def elaborate(self, platform: Any) -> Module:
        """Register the inputs, add the banks, and select the bank that was read."""
        m = Module()
        ram = self.ram
        low = ceil_log2(BANK_WORDS)
        starts = range(0, ram.depth, BANK_WORDS)
        inputs: dict[str, Any] = {name: getattr(self, name) for name in ram.inputs}
        if ram.waits:
            inputs = {name: self._register(m, platform, value, f"late_{name}") for name, value in inputs.items()}
        address, write_address, enable = inputs["address"], inputs["write_address"], inputs["enable"]
        words = Signal(data.ArrayLayout(unsigned(ram.bits), len(starts)))
        for index, start in enumerate(starts):
            depth = min(BANK_WORDS, ram.depth - start)
            name = f"{ram.name}_{index}" if len(starts) > 1 else ram.name
            bank = Ram(
                bits=ram.bits,
                depth=depth,
                lanes=ram.lanes,
                init=ram.init[start : start + depth],
                name=name,
                latency=self.BANK_LATENCY,
            )
            submodule(m, platform, f"bank_{index}", bank)
            m.d.comb += [
                bank.write_address.eq(write_address[:low]),
                bank.write_data.eq(inputs["write_data"]),
                bank.write_lanes.eq(Mux(write_address[low:] == index, inputs["write_lanes"], 0)),
                bank.address.eq(address[:low]),
                bank.enable.eq(enable & (address[low:] == index)),
                words[index].eq(bank.data),
            ]
        word: Any = words[0]
        if len(starts) > 1:
            asked, answered = (Signal(range(len(starts)), name=name, reset_less=True) for name in ("asked", "answered"))
            with m.If(enable):
                m.d.sync += asked.eq(address[low:])
            m.d.sync += answered.eq(asked)
            word = Cat(*(words[i] for i in range(len(starts)))).word_select(answered, ram.bits)
        remaining = ram.latency - ram.waits - self.BANK_LATENCY
        self_: Any = self
        m.d.comb += self_.data.eq(delay(m, word, remaining, name="data", resets=False))
        return m

    @staticmethod
    def _register(m: Module, platform: Any, value: Value, name: str) -> Value:
        """Return a register of `value` that synthesis does not merge with others of the same value."""
        register = Signal(len(value), name=name)
        m.d.sync += register.eq(value)
        return technology_of(platform).duplicate_register(m, value, register, 1, name=name)[0]
