"""The requantisers of the output stage, with the memories of the drains' clamps and zero points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.hierarchy import submodule
from etchnet.hdl.core.loadable_memory import LoadableMemory, load_bus
from etchnet.hdl.core.output.requantiser import Requantiser
from etchnet.hdl.isa import Drain, Parameters
from etchnet.hdl.isa.config import Config

__all__ = ["RequantiserBank"]


class RequantiserBank(wiring.Component):
    """The requantisers, one per lane: a group of values in every cycle, and its results `latency` cycles later.

    The late fields of drains (`Drain.LATE`) are looked up here, each in a memory of its own, just before the values
    need them: to carry them through the pipeline would take more registers than all other fields together. Their
    addresses follow the group by `late_delays` cycles, less the `memory_latency` of the lookup.

    ==========  =========  =================================  =====================================================
    port        direction  shape                              meaning
    ==========  =========  =================================  =====================================================
    write       in         1                                  `bus` carries drains
    bus         in         `load_bus`                         from the loader
    values      in         `requantisers` x signed(32)        accumulators
    parameters  in         `requantisers` x `Parameters`      their parameters
    raw         in         1                                  use the low 32 bits of the product; see `Requantiser`
    places      in         a drain's address per late memory  the drain whose late fields to look up
    results     out        `requantisers` x signed(32)        results, clamped
    ==========  =========  =================================  =====================================================
    """

    def __init__(self, config: Config, *, init: Sequence[int] = ()) -> None:
        self._config, self._init = config, init
        place = unsigned(config.address_bits(config.drains))
        values = data.ArrayLayout(signed(32), config.requantisers)
        super().__init__(
            {
                "write": In(1),
                "bus": In(load_bus(config)),
                "values": In(values),
                "parameters": In(data.ArrayLayout(Parameters.layout(config), config.requantisers)),
                "raw": In(1),
                "places": In(data.StructLayout(dict.fromkeys(Drain.LATE, place))),
                "results": Out(values),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from a group of values to its results."""
        return Requantiser.latency(config)

    @staticmethod
    def late_delays(config: Config) -> dict[str, int]:
        """Return the cycles from a group to the use of its late fields, by the memory that stores them."""
        return {"bounds": Requantiser.clamp_delay(config), "zero_point": Requantiser.zero_point_delay(config)}

    def elaborate(self, platform: Any) -> Module:
        """Look up the late fields, and give them to a requantiser per lane."""
        m = Module()
        config = self._config
        late: dict[str, Any] = {name: self._late_fields(m, platform, name) for name in Drain.LATE}
        for lane in range(config.requantisers):
            requantiser = Requantiser(config)
            submodule(m, platform, f"requantiser_{lane}", requantiser)
            m.d.comb += [
                requantiser.value.eq(self.values[lane]),
                requantiser.parameters.eq(self.parameters[lane]),
                requantiser.raw.eq(self.raw),
                requantiser.zero_point.eq(late["zero_point"].zero_point),
                requantiser.low.eq(late["bounds"].low),
                requantiser.high.eq(late["bounds"].high),
                self.results[lane].eq(requantiser.result),
            ]
        return m

    def _late_fields(self, m: Module, platform: Any, name: str) -> Any:
        """Look up the late fields that the memory `name` stores, for the drain that `places` names."""
        config, layout = self._config, Drain.late_layout(self._config, name)
        memory = LoadableMemory(
            config,
            bits=layout.size,
            first=Drain.late_offset(config, name),
            depth=config.drains,
            init=self._init,
            name=f"drain_{name}",
            latency=config.memory_latency,
        )
        submodule(m, platform, name, memory, variant=name)
        fields = Signal(layout, name=name)
        m.d.comb += [
            memory.write.eq(self.write),
            memory.bus.eq(self.bus),
            memory.address.eq(self.places[name]),
            memory.enable.eq(1),
            fields.eq(memory.data),
        ]
        return fields
