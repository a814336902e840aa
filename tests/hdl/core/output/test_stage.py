"""The output stage by itself: drains from rows to memory words, against `sim.arithmetic` and a plain model."""

import dataclasses

import numpy as np
import pytest
from support import rtl
from support.drains import Fed, head, random_drains, schedule

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.isa import CONTRACTS, Destination, Parameters, Target
from etchnet.hdl.isa.config import Config
from etchnet.sim.arithmetic.contracts import contract_of

SMALL = {"accumulator_rows": 16, "activation_words": 64, "output_words": 64, "parameter_tiles": 8, "drains": 8}
CONFIGS = [
    Config(rows=4, columns=2, requantisers=1, contract=CONTRACTS[0], **SMALL),
    Config(rows=3, columns=6, requantisers=2, contract=CONTRACTS[1], memory_latency=3, **SMALL),
    Config(rows=2, columns=2, residual_words=32, contract=CONTRACTS[2], product_latency=3, **SMALL),
]


def results_of(config, accumulators, parameters, drain):
    """Return a row of results; `raw` takes the low 32 bits of the product, here with multiplier 1."""
    found = []
    for value, p in zip(accumulators, parameters, strict=True):
        biased = np.int64(int(value) + p.bias)
        if drain.raw:
            found.append(np.clip(biased + drain.zero_point, drain.low, drain.high))
        else:
            options = {"zero_point": drain.zero_point, "low": drain.low, "high": drain.high}
            found.append(contract_of(config).requantise(biased, p.multiplier, p.left, p.right, **options))
    return np.array(found)


def row_words(config, row, step, drain):
    """Address, lanes and bytes of the memory words of a row."""
    data = row.astype("<i4").tobytes() if drain.wide else row.astype(np.int8).tobytes()
    if not drain.wide and config.tiles_per_word > 1:
        return [(step.address, 1 << step.lane, data * config.tiles_per_word)]
    data += bytes(-len(data) % config.rows)
    return [
        (step.address + i, (1 << config.tiles_per_word) - 1, data[first : first + config.rows])
        for i, first in enumerate(range(0, len(data), config.rows))
    ]


def loading(config, target, words, strobe):
    """Yield the inputs that load packet words, `strobe` being their memory's."""
    for inputs in rtl.bus_writes(config, target, words):
        yield {f"inner.{strobe if name == 'write' else name}": value for name, value in inputs.items()}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.contract)
@pytest.mark.parametrize("raw", [False, True])
def test_drains_write_the_right_words_in_the_right_cycles(config, raw):
    rng = np.random.default_rng(raw)
    drains = [dataclasses.replace(drain, raw=raw) for drain in random_drains(config, rng, 6)]
    # A raw drain multiplies by 1, any other by significands that every contract can represent.
    lanes = config.parameter_words * config.requantisers
    factors = (rng.integers(1 << 23, 1 << 24, lanes) << 7, rng.integers(0, 10, lanes))
    parameters = [
        Parameters(bias=int(b), multiplier=1 if raw else int(m), left=0, right=0 if raw else int(r))
        for b, m, r in zip(rng.integers(-500, 500, lanes), *factors, strict=True)
    ]
    accumulators = rng.integers(-(1 << 16), 1 << 16, (2, 2, max(config.accumulator_rows, 32), config.columns))

    starts, cycle = [], 1
    for index, drain in enumerate(drains):
        if not drain.chained:
            starts.append(cycle)
        cycle = max(schedule(config, drains[: index + 1], starts)) - DrainWalk.start_delay(config) + 8
    steps = schedule(config, drains, starts)

    writes, folds, ends = {}, {}, {}
    latency, fold_latency = OutputStage.latency(config), OutputStage.fold_latency(config)
    for now, step in steps.items():
        if step.group != config.groups - 1:
            continue
        drain = drains[step.drain]
        first = (step.parameter_word - step.group) * config.requantisers
        source = accumulators[int(drain.residual)][0 if drain.residual else drain.bank][step.row]
        row = results_of(config, source, parameters[first : first + config.columns], drain)
        if drain.destination == Destination.ACCUMULATORS:
            folds[now + fold_latency] = drain.into, step.address, int(drain.fold), row
            last = now + latency
        else:
            words = row_words(config, row, step, drain)
            for i, word in enumerate(words):
                writes[now + latency + i] = (drain.destination.name.lower(), *word)
            last = now + latency + len(words) - 1
        if step.drain_done:
            ends[last] = int(drain.commit), int(step.drain == len(drains) - 1)

    read = AccumulatorBank.read_latency(config)
    asked = {}
    last_started = max(index for index, drain in enumerate(drains) if not drain.chained)

    def bench():
        yield from loading(config, Target.PARAMETERS, words, "write_parameters")
        yield from loading(config, Target.DRAINS, [drain.encode(config) for drain in drains], "write_drains")
        index = 0
        for now in range(max(steps) + latency + 12):
            inputs = {
                **head(config, drains, index),
                "inner.start": now in starts,
                "inner.start_last": now == starts[-1],
            }
            if now - read in asked:
                residual, bank, row = asked[now - read]
                inputs["inner.accumulators"] = rtl.int32_lanes(accumulators[residual][0 if residual else bank][row])
            outputs = yield inputs
            assert outputs["inner.reading_last"] == (now in steps and steps[now].drain >= last_started)
            if outputs["inner.read.valid"]:
                asked[now] = tuple(outputs[f"inner.read.{name}"] for name in ("residual", "bank", "row"))
            strobes = [n for n in ("activation", "output", "residual") if outputs[f"inner.write.{n}"]]
            if now in writes:
                destination, address, lane_bits, data = writes[now]
                assert strobes == [destination], now
                got = [outputs[f"inner.write.{n}"] for n in ("address", "lanes", "data")]
                assert got == [address, lane_bits, int.from_bytes(data, "little")], now
            else:
                assert strobes == [], now
            assert outputs["inner.fold.valid"] == (now in folds), now
            if now in folds:
                assert [outputs[f"inner.fold.{n}"] for n in ("bank", "row", "fold")] == list(folds[now][:3])
            if now - read in folds:
                assert outputs["inner.values"] == rtl.int32_lanes(folds[now - read][3])
            assert (outputs["inner.commit"], outputs["inner.done"]) == ends.get(now, (0, 0)), now
            index += outputs["inner.drains.ready"]
        assert index == len(drains)

    size = Parameters.layout(config).size
    words = [
        sum(p.encode(config) << size * i for i, p in enumerate(parameters[first : first + config.requantisers]))
        for first in range(0, lanes, config.requantisers)
    ]
    rtl.run(Fed(config, OutputStage(config)), bench())
