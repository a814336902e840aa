"""The walk of drains against their definition, step by step."""

import numpy as np
import pytest
from support import rtl
from support.drains import Fed, head, random_drains, schedule

from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.isa import Drain
from etchnet.hdl.isa.config import Config

SMALL = {"accumulator_rows": 16, "activation_words": 64, "output_words": 64, "parameter_tiles": 8, "drains": 16}
CONFIGS = [
    Config(rows=8, columns=2, requantisers=1, **SMALL),
    Config(rows=3, columns=4, requantisers=2, **SMALL),
    Config(rows=2, columns=2, residual_words=32, **SMALL),
]


def walk(config, drains, starts, *, cycles, start_last=()):
    """Return group, read and parameter word by cycle, and the cycles of `reading_last`."""
    seen, reading_last = {}, set()

    def bench():
        index = 0
        for cycle in range(cycles):
            outputs = yield {
                **head(config, drains, index),
                "inner.start": cycle in starts,
                "inner.start_last": cycle in start_last,
            }
            if outputs["inner.read.valid"]:
                assert outputs["inner.group.valid"]
                seen[cycle] = {
                    name: outputs[f"inner.{name}"]
                    for name in (
                        *(f"group.{field}" for field in ("index", "row_done", "drain_done", "address", "lane")),
                        *(f"group.{field}" for field in ("final", "commit", "raw", "wide", "destination", "place")),
                        *("group.bank", "group.fold"),
                        *("read.row", "read.bank", "read.residual", "parameter_word"),
                    )
                }
            if outputs["inner.reading_last"]:
                reading_last.add(cycle)
            index += outputs["inner.drains.ready"]
        assert index == len(drains)

    rtl.run(Fed(config, DrainWalk(config)), bench())
    return seen, reading_last


def expected(config, drains, starts):
    found = {}
    for cycle, step in schedule(config, drains, starts).items():
        drain = drains[step.drain]
        if step.group < config.groups:
            found[cycle] = {
                "group.index": step.group,
                "group.row_done": step.group == config.groups - 1,
                "group.drain_done": step.drain_done,
                "group.address": step.address,
                "group.lane": step.lane,
                "group.final": step.drain == len(drains) - 1,
                "group.commit": drain.commit,
                "group.raw": drain.raw,
                "group.wide": drain.wide,
                "group.destination": drain.destination,
                "group.place": step.drain,
                "group.bank": drain.into,
                "group.fold": drain.fold,
                "read.row": step.row,
                "read.bank": drain.bank,
                "read.residual": drain.residual,
                "parameter_word": step.parameter_word,
            }
    return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.rows}x{c.columns}/{c.requantisers}")
def test_every_step_matches_the_definition(config, seed):
    rng = np.random.default_rng(seed)
    drains = random_drains(config, rng, 16)
    starts, cycle = [], 1
    for index, drain in enumerate(drains):
        if not drain.chained:
            starts.append(cycle)
        last = max(schedule(config, drains[: index + 1], starts))
        cycle = last - DrainWalk.start_delay(config) + int(rng.integers(1, 4))
    wanted = expected(config, drains, starts)
    assert walk(config, drains, starts, cycles=max(wanted) + 12)[0] == wanted


def test_reading_last_is_for_drains_of_the_last_pass_and_their_chains():
    config = CONFIGS[0]
    drains = [Drain(pixels=2), Drain(pixels=3), Drain(pixels=2, chained=True)]
    first, second = 1, 20
    seen, last = walk(config, drains, (first, second), cycles=60, start_last=(second,))
    begin = second + DrainWalk.start_delay(config)
    assert last == {cycle for cycle in seen if cycle >= begin}
    assert len(seen) - len(last) == 2 * config.groups
