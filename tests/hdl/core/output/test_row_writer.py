"""The writer of rows against the memory words that a row should fill."""

import numpy as np
import pytest
from support import rtl

from etchnet.hdl.core.output.row_writer import RowWriter
from etchnet.hdl.isa import Destination
from etchnet.hdl.isa.config import Config

STROBES = {Destination.ACTIVATION: "activation", Destination.OUTPUT: "output", Destination.RESIDUAL: "residual"}


def expected_words(config, row, *, wide, lane):
    """Address offset, lanes and bytes of every memory word that a row fills, from its definition."""
    data = row.astype("<i4").tobytes() if wide else row.astype(np.int8).tobytes()
    if not wide and config.tiles_per_word > 1:
        return [(0, 1 << lane, data * config.tiles_per_word)]
    data += bytes(-len(data) % config.rows)
    words = [data[first : first + config.rows] for first in range(0, len(data), config.rows)]
    return [(offset, (1 << config.tiles_per_word) - 1, word) for offset, word in enumerate(words)]


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (8, 2), (3, 5), (2, 7), (6, 4)])
@pytest.mark.parametrize("seed", range(2))
def test_rows_fill_the_words_that_the_definition_says(rows, columns, seed):
    config = Config(rows=rows, columns=columns, requantisers=columns, activation_words=64, output_words=64)
    rng = np.random.default_rng(seed)
    arrivals, wanted, ends = {}, {}, {}
    cycle = 1
    for _ in range(30):
        destination = Destination(int(rng.integers(4 if config.residual_words else 3)))
        group = {
            "wide": int(destination == Destination.OUTPUT and rng.integers(2)),
            "destination": int(destination),
            "lane": int(rng.integers(config.tiles_per_word)),
            "address": int(rng.integers(32)),
            "drain_done": int(rng.integers(2)),
            "commit": int(rng.integers(2)),
            "final": int(rng.integers(2)),
        }
        row = rng.integers(-128, 128, columns) if not group["wide"] else rng.integers(-(1 << 31), 1 << 31, columns)
        arrivals[cycle] = group, row
        words = expected_words(config, row, wide=group["wide"], lane=group["lane"])
        if destination == Destination.ACCUMULATORS:
            words = words[:1]  # the row ends with its own cycle
        else:
            for offset, lanes, data in words:
                place = group["address"] + offset
                wanted[cycle + offset] = STROBES[destination], place, lanes, int.from_bytes(data, "little")
        if group["drain_done"]:
            ends[cycle + len(words) - 1] = group["commit"], group["final"]
        cycle += len(words) + int(rng.integers(3))

    def bench():
        for now in range(cycle + 4):
            inputs = {"row_soon": now + 1 in arrivals}
            if now + 1 in arrivals:
                inputs |= {f"soon.{name}": value for name, value in arrivals[now + 1][0].items()}
            if now in arrivals:
                group, row = arrivals[now]
                inputs |= {f"now.{name}": value for name, value in group.items()}
                inputs["row"] = rtl.int32_lanes(row)
            outputs = yield inputs
            strobes = [name for name in STROBES.values() if outputs[f"write.{name}"]]
            if now in wanted:
                got = tuple(outputs[f"write.{name}"] for name in ("address", "lanes", "data"))
                assert (*strobes, *got) == wanted[now], now
            else:
                assert strobes == [], now
            assert (outputs["commit"], outputs["done"]) == ends.get(now, (0, 0)), now

    rtl.run(RowWriter(config), bench())
