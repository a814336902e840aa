"""The outgoing link, with a receiver that stalls."""

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.control.sender import Sender
from etchnet.hdl.isa import COUNTER_BITS, Counter, chunks


def halves_sent(config, random, *, rate, lengths):
    """Commit halves at random, answer the sender's reads; return the (word, last) that it sends, and their cycles."""
    memory = [int.from_bytes(random.bytes(config.rows), "little") for _ in range(2 * config.output_words)]
    wanted = []
    for index, length in enumerate(lengths):
        half = index % 2
        for word in memory[half * config.output_words :][:length]:
            for chunk in range(chunks(8 * config.rows, config)):
                data = word >> chunk * config.link_bits & (1 << config.link_bits) - 1
                wanted.append((data, chunk == chunks(8 * config.rows, config) - 1))
    ends = np.cumsum(lengths) * chunks(8 * config.rows, config)
    wanted = [(data, int(position + 1 in ends)) for position, (data, _) in enumerate(wanted)]
    found, cycles = [], []
    committed = read = sent = data = reads = 0
    for cycle in range(2000):
        if committed < len(lengths) and random.random() < 0.3 and committed - sent < 2:
            committed += 1
        ready = int(random.random() < rate)
        words = lengths[read] if read < len(lengths) else 0
        seen = yield {"full": int(committed > read), "words": words, "data": data, "link.ready": ready}
        if ready and seen["link.valid"]:
            found.append((seen["link.payload"], seen["last"]))
            cycles.append(cycle)
        assert seen["half_sent"] == (ready and seen["link.valid"] and seen["last"])
        if seen["enable"]:
            data = memory[seen["address"]]
            reads += 1
        assert seen["half_read"] == (seen["enable"] and reads in ends)
        read += seen["half_read"]
        sent += seen["half_sent"]
        if sent == len(lengths):
            break
    assert found == wanted
    return cycles


@pytest.mark.parametrize(("rows", "link_bits"), [(4, 32), (12, 32), (8, 64), (3, 32)])
@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_committed_halves_leave_in_order(rows, link_bits, rate):
    config = small(rows=rows, link_bits=link_bits, depthwise=0, residual_words=0)
    random = np.random.default_rng(rows)
    lengths = [int(n) for n in random.integers(1, config.output_words + 1, size=5)]
    rtl.run(Sender(config), halves_sent(config, random, rate=rate, lengths=lengths))


def test_a_half_leaves_without_a_gap_and_begins_a_latency_after_its_commit():
    config = small(rows=8, depthwise=0, residual_words=0)

    def bench():
        cycles = []
        for cycle in range(40):
            seen = yield {"full": int(5 <= cycle < 5 + 12), "words": 6, "link.ready": 1}
            if seen["link.valid"]:
                cycles.append(cycle)
        return cycles

    first = 5 + Sender.latency(config)
    assert rtl.run(Sender(config), bench()) == list(range(first, first + 12))


@pytest.mark.parametrize("rate", [1.0, 0.4])
def test_counters_leave_low_words_first(rate):
    config, random = small(), np.random.default_rng(0)
    totals = [int.from_bytes(random.bytes(COUNTER_BITS // 8), "little") for _ in Counter]
    inputs = {f"totals.{index}": total for index, total in enumerate(totals)}

    def bench():
        for _ in range(2):
            yield {**inputs, "counters": 0}
            words, done = [], 0
            while not done:
                ready = int(random.random() < rate)
                seen = yield {"counters": 1, "link.ready": ready}
                assert seen["link.valid"]
                done = seen["counters_done"]
                assert seen["last"] == (len(words) == 2 * len(totals) - 1)
                if ready:
                    words.append(seen["link.payload"])
            assert words == [total >> shift & 0xFFFF_FFFF for total in totals for shift in (0, 32)]

    rtl.run(Sender(config), bench())
