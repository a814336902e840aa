"""Program memories: the instructions that come out, and when, at any pace of the user."""

import dataclasses

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.control import pass_lookahead
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.isa import Pass, Target, chunks, word_bits


def random_pass(config, random):
    """Return a pass with random values in all fields."""
    fields = {}
    for name, field in Pass.layout(config):
        value = int.from_bytes(random.bytes(4), "little") & (1 << field.width) - 1
        fields[name] = value
    word = sum(value << field.offset for value, (_, field) in zip(fields.values(), Pass.layout(config), strict=True))
    return Pass.decode(word, config)


def memory(config, passes):
    return InstructionMemory(
        Pass,
        config,
        depth=config.passes,
        init=[p.encode(config) for p in passes],
        derived=pass_lookahead.layout(config),
        derive=pass_lookahead.derive,
        reset=pass_lookahead.reset(config),
    )


def expected_lookahead(p, config):
    """Return the derived values, in Python's own arithmetic, cut to their widths."""
    layout = pass_lookahead.layout(config)
    columns = p.columns or p.pixels
    values = {
        "no_idle": int(p.idle == p.idle_requantise == 0),
        "idle_end": p.idle + p.idle_requantise,
        "one_pixel": int(p.pixels == 1),
        "before_last": p.pixels - 2,
        "columns": columns,
        "last_column": columns - 1,
    }
    return {name: value & (1 << layout[name].width) - 1 for name, value in values.items()}


def taken(config, *, first, count, repeats, rate, random, start):
    """Return the instructions taken after one start, each as (word, is last, derived values), and their cycles."""
    derived = [name for name, _ in pass_lookahead.layout(config)]
    found, cycle = [], 0
    yield {"start": 1, "first": first, "count": count, "repeats": repeats, "instructions.ready": 0}
    while len(found) < count * repeats:
        cycle += 1
        ready = int(random.random() < rate)
        seen = yield {"start": 0, "instructions.ready": ready}
        if cycle < start:
            assert not seen["instructions.valid"]
        if ready and seen["instructions.valid"]:
            values = {name: seen[f"instructions.payload.derived.{name}"] for name in derived}
            head = "instructions.payload.head"
            found.append((cycle, seen[f"{head}.fields"], seen[f"{head}.final"], values))
    for _ in range(8):
        seen = yield {"instructions.ready": 1}
        assert not seen["instructions.valid"]
    return found


@pytest.mark.parametrize("latency", [1, 2, 3, 4])
@pytest.mark.parametrize("rate", [1.0, 0.4])
def test_instructions_come_in_order_without_a_gap(latency, rate):
    config, random = small(memory_latency=latency), np.random.default_rng(latency)
    passes = [random_pass(config, random) for _ in range(config.passes)]
    start = InstructionMemory.latency(config)

    def bench():
        for first, count, repeats in ((0, 16, 1), (3, 5, 3), (15, 1, 4), (7, 1, 1), (2, 2, 2)):
            found = yield from taken(
                config, first=first, count=count, repeats=repeats, rate=rate, random=random, start=start
            )
            wanted = passes[first : first + count] * repeats
            assert [word for _, word, _, _ in found] == [p.encode(config) for p in wanted]
            assert [final for _, _, final, _ in found] == [0] * (len(wanted) - 1) + [1]
            assert [values for *_, values in found] == [expected_lookahead(p, config) for p in wanted]
            if rate == 1:
                assert [cycle for cycle, *_ in found] == list(range(start, start + len(wanted)))

    rtl.run(memory(config, passes), bench())


@pytest.mark.parametrize("link_bits", [32, 64])
def test_a_program_is_loaded_over_the_bus(link_bits):
    config, random = small(link_bits=link_bits), np.random.default_rng(0)
    passes = [random_pass(config, random) for _ in range(4)]

    def bench():
        for address, p in enumerate(passes):
            word = p.encode(config)
            for chunk in range(chunks(word_bits(Target.PASSES, config), config)):
                data = word >> chunk * link_bits & (1 << link_bits) - 1
                yield {"write": 1, "bus.address": address, "bus.chunk": chunk, "bus.data": data}
        yield {"write": 0}
        found = yield from taken(config, first=0, count=4, repeats=1, rate=0.5, random=random, start=1)
        assert [word for _, word, _, _ in found] == [p.encode(config) for p in passes]

    rtl.run(memory(config, ()), bench())


def test_derived_values_after_reset_are_those_of_zero_fields():
    config = small()
    fields = {f.name: 0 for f in dataclasses.fields(Pass)}
    wanted = expected_lookahead(Pass(**fields), config)
    reset = pass_lookahead.reset(config)
    assert {name: reset.get(name, 0) for name in wanted} == wanted
