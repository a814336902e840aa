"""Program memories: the instructions that come out, and when, at any pace of the user."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.control import pass_lookahead
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.isa import Drain, Pass, Target


def random_instruction(kind, config, random):
    """Return an instruction with random bits in all fields, many of them 0 or 1."""
    word = 0
    for _, field in kind.layout(config):
        value = int(random.choice([0, 1, int.from_bytes(random.bytes(4), "little")]))
        word |= (value & (1 << field.width) - 1) << field.offset
    return kind.decode(word, config)


def memory(config, instructions, kind=Pass):
    derived, derive, reset = {
        Pass: (pass_lookahead.layout(config), pass_lookahead.derive, pass_lookahead.reset(config)),
        Drain: (DrainWalk.derived_layout(config), partial(DrainWalk.derive, config), DrainWalk.derived_reset(config)),
    }[kind]
    return InstructionMemory(
        kind,
        config,
        depth=len(instructions) or config.passes,
        init=[i.encode(config) for i in instructions],
        derived=derived,
        derive=derive,
        reset=reset,
    )


def expected_lookahead(instruction, config):
    """Return the derived values, in Python's own arithmetic; numbers below 0 wrap around as their field does."""
    sizes = {name: 1 << field.width for name, field in type(instruction).layout(config)}
    if isinstance(instruction, Pass):
        p = instruction
        columns = p.columns or p.pixels
        return {
            "no_idle": int(p.idle == p.idle_requantise == 0),
            "idle_end": p.idle + p.idle_requantise,
            "one_pixel": int(p.pixels == 1),
            "before_last": (p.pixels - 2) % sizes["pixels"],
            "columns": columns,
            "last_column": (columns - 1) % sizes["pixels"],
        }
    d = instruction
    steps = max(config.groups, config.words_per_pixel(wide=d.wide))
    return {
        "at_once": int(steps == d.pixels == d.tiles == 1),
        "one_step": int(steps == 1),
        "one_pixel": int(d.pixels == 1),
        "one_tile": int(d.tiles == 1),
        "last_step": steps - 1,
        "last_pixel": (d.pixels - 1) % sizes["pixels"],
        "last_tile": (d.tiles - 1) % sizes["tiles"],
    }


def taken(config, kind, *, first, count, repeats, rate, random, start, loading=None):
    """Return the instructions taken after one start, each as (fields, is last, derived values, place), and cycles.

    From cycle `start` on there must always be one. `loading` are further inputs of the cycle that starts.
    """
    found, cycle = [], 0
    layout = expected_lookahead(kind(), config)
    late = kind.layout(config).size - kind.streamed(config).size
    command = {"start": 1, "first": first, "count": count, "repeats": repeats}
    yield {**command, "instructions.ready": 0, **(loading or {})}
    while len(found) < count * repeats:
        cycle += 1
        ready = int(random.random() < rate)
        seen = yield {"start": 0, "repeats": 0, "write": 0, "instructions.ready": ready}
        assert seen["instructions.valid"] == (cycle >= start)
        if ready and seen["instructions.valid"]:
            values = {name: seen[f"instructions.payload.derived.{name}"] for name in layout}
            head = "instructions.payload.head"
            place = seen[f"{head}.place"] if late else None
            found.append((cycle, seen[f"{head}.fields"] << late, seen[f"{head}.final"], values, place))
    for _ in range(random.choice([0, 1, 8])):
        seen = yield {"instructions.ready": 1}
        assert not seen["instructions.valid"]
    return found


@pytest.mark.parametrize("kind", [Pass, Drain])
@pytest.mark.parametrize("latency", [1, 2, 3, 4])
def test_instructions_come_in_order_without_a_gap(latency, kind):
    """At any pace of the user, and however soon the next start follows the last instruction."""
    config, random = small(memory_latency=latency, columns=1 + latency), np.random.default_rng(latency)
    instructions = [random_instruction(kind, config, random) for _ in range(17)]
    late = kind.layout(config).size - kind.streamed(config).size
    start = InstructionMemory.latency(config)

    def bench():
        for first, count, repeats in ((0, 17, 1), (3, 5, 3), (16, 1, 4), (7, 1, 1), (2, 2, 2), (5, 11, 4)):
            for rate in (1, 0.4, 0.7):
                found = yield from taken(
                    config, kind, first=first, count=count, repeats=repeats, rate=rate, random=random, start=start
                )
                wanted = instructions[first : first + count] * repeats
                assert [word for _, word, *_ in found] == [i.encode(config) >> late << late for i in wanted]
                assert [final for _, _, final, *_ in found] == [0] * (len(wanted) - 1) + [1]
                assert [values for *_, values, _ in found] == [expected_lookahead(i, config) for i in wanted]
                if rate == 1:
                    assert [cycle for cycle, *_ in found] == list(range(start, start + len(wanted)))
                if late:
                    assert [place for *_, place in found] == list(range(first, first + count)) * repeats

    rtl.run(memory(config, instructions, kind), bench())


@pytest.mark.parametrize("repeats", [1 << 31, (1 << 31) + 1])
def test_all_bits_of_the_repeats_count(repeats):
    config = small()

    def bench():
        yield {"start": 1, "count": 1, "repeats": repeats, "instructions.ready": 1}
        for cycle in range(1, 8):
            seen = yield {"start": 0}
            assert seen["instructions.valid"] == (cycle >= InstructionMemory.latency(config))
            assert not seen["instructions.payload.head.final"]

    rtl.run(memory(config, ()), bench())


@pytest.mark.parametrize("link_bits", [32, 64])
def test_a_program_is_loaded_over_the_bus(link_bits):
    config, random = small(link_bits=link_bits), np.random.default_rng(0)
    passes = [random_instruction(Pass, config, random) for _ in range(4)]

    def bench():
        *writes, last, _ = rtl.bus_writes(config, Target.PASSES, [p.encode(config) for p in passes])
        yield from (write for write in writes)
        # The first instruction may be the one whose last chunk is written in the cycle of the start.
        for first, count, loading in ((3, 1, last), (0, 4, None)):
            options = {"rate": 0.5, "random": random, "start": InstructionMemory.latency(config), "loading": loading}
            found = yield from taken(config, Pass, first=first, count=count, repeats=1, **options)
            assert [word for _, word, *_ in found] == [p.encode(config) for p in passes[first : first + count]]

    rtl.run(memory(config, ()), bench())


@pytest.mark.parametrize("kind", [Pass, Drain])
@pytest.mark.parametrize("requantisers", [1, 4])
def test_derived_values_after_reset_are_those_of_zero_fields(kind, requantisers):
    config = small(requantisers=requantisers)
    wanted = expected_lookahead(kind(**{f.name: 0 for f in dataclasses.fields(kind)}), config)

    def bench():
        seen = yield {}
        assert {name: seen[f"instructions.payload.derived.{name}"] for name in wanted} == wanted

    rtl.run(memory(config, (), kind), bench())
