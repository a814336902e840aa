"""The machine's counters, as the driver reads them over the link."""

from __future__ import annotations

from dataclasses import dataclass

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.html import html_table

__all__ = ["Counts"]

_LOST = (Counter.WAIT_IN, Counter.WAIT_OUT, Counter.WEIGHT_LOAD, Counter.REQUANTISE, Counter.FILL_DRAIN)
"""the slot classes in which no pixel is issued"""


@dataclass(frozen=True, repr=False)
class Counts:
    """The counters of one or several runs.

    Attributes
    ----------
    totals
        The value of each counter.
    config
        The machine.
    """

    totals: dict[Counter, int]
    config: Config

    @classmethod
    def zero(cls, config: Config) -> Counts:
        """Return counters that are all 0."""
        return cls(dict.fromkeys(Counter, 0), config)

    def __getitem__(self, counter: Counter) -> int:
        return self.totals[counter]

    def __add__(self, other: Counts) -> Counts:
        return Counts({c: self.totals[c] + other.totals[c] for c in Counter}, self.config)

    def __repr__(self) -> str:
        return f"Counts({self.cycles:,} cycles, {self.totals[Counter.USEFUL]:,} useful, {self.utilisation:.1%})"

    def _repr_html_(self) -> str:
        slots = self._slots()
        rows = [
            [name.replace("_", " "), f"{slots[name] / self.config.multipliers:,.1f}", f"{share:.1%}"]
            for name, share in self.shares().items()
        ]
        return html_table(["slot class", "cycles", "share"], rows, repr(self))

    @property
    def cycles(self) -> int:
        """Cycles of all runs."""
        return self.totals[Counter.CYCLES]

    @property
    def utilisation(self) -> float:
        """Useful multiplications per multiplier per cycle, from 0 to 1."""
        return self.totals[Counter.USEFUL] / (self.cycles * self.config.multipliers) if self.cycles else 0.0

    def _slots(self) -> dict[str, int]:
        """Return the multiplier slots of each class; there is one slot per multiplier per cycle."""
        useful, multipliers = self.totals[Counter.USEFUL], self.config.multipliers
        slots = {"useful": useful, "padding": self.totals[Counter.ISSUE] * multipliers - useful}
        return slots | {counter.name.lower(): self.totals[counter] * multipliers for counter in _LOST}

    def shares(self) -> dict[str, float]:
        """Return the share of each slot class in rows x columns x cycles; the shares add up to 1."""
        total = self.cycles * self.config.multipliers
        return {name: slots / total if total else 0.0 for name, slots in self._slots().items()}
