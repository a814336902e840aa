"""Accumulator banks against rows of numpy."""

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.isa import Fold


def fold_values(old, new, fold):
    """Return the rule of `Fold`, modulo 2**32."""
    match fold:
        case Fold.SET:
            return new
        case Fold.ADD:
            return (old.astype(np.int64) + new).astype(np.int32)
        case Fold.MAX:
            return np.maximum(old, new)


@pytest.mark.parametrize("memory_latency", [1, 2, 3])
def test_rows_are_set_added_to_and_maximised(memory_latency):
    """Random folds and reads within the rules: one use of the read port per cycle, no row named while it is in use."""
    config, random = small(memory_latency=memory_latency), np.random.default_rng(memory_latency)
    read_latency, latency = AccumulatorBank.read_latency(config), AccumulatorBank.latency(config)
    rows = np.zeros((config.accumulator_rows, config.columns), np.int32)
    extremes = np.array([-(2**31), 2**31 - 1, 0, -1, 1], np.int32)

    def draw():
        if random.random() < 0.3:
            return random.choice(extremes, config.columns)
        return random.integers(-(2**31), 2**31, config.columns).astype(np.int32)

    def bench():
        arriving, reading, free_at, last = {}, {}, {}, None
        checked = 0
        for cycle in range(500):
            inputs = {"fold.valid": 0, "read": 0, "fold.held": 0}
            if last is not None and random.random() < 0.4:
                # Held: the row of the cycle before once more; the read port is free for another row.
                row, fold = last, Fold(int(random.integers(1, 3)))
                inputs |= {"fold.valid": 1, "fold.held": 1}
            else:
                row = int(random.choice([r for r in range(len(rows)) if free_at.get(r, 0) <= cycle]))
                fold, last = Fold(int(random.integers(3))), None
                inputs["fold.valid"] = int(random.random() < 0.6)
            inputs |= {"fold.row": row, "fold.fold": fold}
            if inputs["fold.valid"]:
                arriving[cycle + read_latency] = (row, fold, draw())
                free_at[row] = cycle + latency + 1
            last = row if inputs["fold.valid"] else None
            ready = [r for r in range(len(rows)) if free_at.get(r, 0) <= cycle]
            if ready and (not inputs["fold.valid"] or (inputs["fold.held"] and random.random() < 0.5)):
                asked = int(random.choice(ready))
                inputs |= {"read": 1, "read_row": asked}
                reading[cycle + read_latency] = rows[asked].copy()
            if cycle in arriving:
                row, fold, values = arriving[cycle]
                rows[row] = fold_values(rows[row], values, fold)
                inputs |= {f"values.{c}": int(value) for c, value in enumerate(values)}
            seen = yield inputs
            if cycle in reading:
                assert [seen[f"data.{c}"] for c in range(config.columns)] == reading[cycle].tolist()
                checked += 1
        return checked

    assert rtl.run(AccumulatorBank(config), bench()) > 50


def test_latencies():
    for memory_latency in (1, 2, 4):
        config = small(memory_latency=memory_latency)
        assert AccumulatorBank.read_latency(config) == memory_latency
        assert AccumulatorBank.latency(config) == memory_latency + 1
