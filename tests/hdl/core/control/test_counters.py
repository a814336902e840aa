"""Counters against sums."""

import numpy as np
from support import rtl
from support.machines import small

from etchnet.hdl.core.control.counters import Counters
from etchnet.hdl.isa import Counter


def test_increments_accumulate_and_are_cleared():
    config, random = small(), np.random.default_rng(0)
    late = [c for c in Counter if c is not Counter.CYCLES]

    def bench():
        totals, before, clear_now = dict.fromkeys(Counter, 0), 0, 0
        added = dict.fromkeys(late, 0)
        for _ in range(300):
            clear = int(random.random() < 0.03)
            increments = {c: int(random.integers(2)) for c in Counter}
            increments[Counter.USEFUL] = int(random.integers(config.multipliers + 1))
            seen = yield {"clear": clear, **{f"increments.{c.name}": value for c, value in increments.items()}}
            for c in Counter:
                assert seen[f"totals.{c.value}"] == totals[c], c
            assert seen["cycles_before"] == before
            # CYCLES counts at once, the others a cycle later; `clear` takes effect a cycle later on all of them.
            before = 0 if clear_now else totals[Counter.CYCLES]
            totals[Counter.CYCLES] += increments[Counter.CYCLES]
            for c in late:
                totals[c] += added[c]
                added[c] = increments[c]
            if clear_now:
                totals = dict.fromkeys(Counter, 0)
            clear_now = clear

    rtl.run(Counters(config), bench())
