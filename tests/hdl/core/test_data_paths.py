"""The paths between array, accumulators and memories: pixels in, sums to the banks, rows and results out."""

from collections import deque

import numpy as np
import pytest
from support import rtl
from support.machines import small

from etchnet.hdl.core.accumulators import AccumulatorBank
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.core.array.pixel_reader import PixelReader
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.fold_router import FoldRouter
from etchnet.hdl.core.result_memory import ResultMemory
from etchnet.hdl.core.row_reader import RowReader
from etchnet.hdl.isa import Source


def split(word, lanes, bits, *, signed):
    """Return a packed word as lanes, the lowest first."""
    values = [word >> bits * lane & (1 << bits) - 1 for lane in range(lanes)]
    return [value - (signed and value >> bits - 1 << bits) for value in values]


@pytest.mark.parametrize("memory_latency", [1, 2, 3])
def test_pixels_are_read_or_padded_and_bubbles_are_zero(memory_latency):
    config, random = small(memory_latency=memory_latency, depthwise=2), np.random.default_rng(memory_latency)
    memories = {
        name: [int.from_bytes(random.bytes(config.rows), "little") for _ in range(depth)]
        for name, depth in (("input", 2 * config.input_words), ("activation", config.activation_words))
    }
    latency = PixelReader.latency(config)

    def bench():
        answers = {name: deque([0] * memory_latency) for name in memories}
        issued, line_delay = deque([None] * latency), 0
        for _ in range(300):
            fields = {
                "valid": int(random.random() < 0.8),
                "inside": int(random.random() < 0.7),
                "pad": int(random.integers(-128, 128)),
                "source": int(random.integers(2)),
                "half": int(random.integers(2)),
                "address": int(random.integers(config.input_words)),
                "windowed": 0,
                "line_delay": int(random.integers(2, config.line_words)),
            }
            fields["windowed"] = fields["valid"] and int(random.random() < 0.3)
            data = {f"{name}.data": queue.popleft() for name, queue in answers.items()}
            seen = yield {**data, **{f"pixel.{name}": value for name, value in fields.items()}}
            word = None
            for name, source in (("input", Source.INPUT), ("activation", Source.ACTIVATION)):
                reads = fields["valid"] and fields["inside"] and fields["source"] == source
                assert seen[f"{name}.enable"] == reads
            if fields["valid"]:
                word = [fields["pad"]] * config.rows
                if fields["inside"]:
                    name = "input" if fields["source"] == Source.INPUT else "activation"
                    address = fields["address"] + (config.input_words * fields["half"] if name == "input" else 0)
                    assert seen[f"{name}.address"] == address
                    word = split(memories[name][address], config.rows, 8, signed=True)
            for name, queue in answers.items():
                queue.append(memories[name][seen[f"{name}.address"]] if seen[f"{name}.enable"] else 0)
            issued.append((word, fields["windowed"], fields["line_delay"]))
            entered = issued.popleft()
            got = [seen[f"activations.{row}"] for row in range(config.rows)]
            assert got == ((entered and entered[0]) or [0] * config.rows)
            assert seen["windowed"] == bool(entered and entered[1])
            # The line delay is held from the cycle after the first vector of a depthwise pass.
            assert seen["line_delay"] == line_delay
            if entered and entered[1]:
                line_delay = entered[2]

    rtl.run(PixelReader(config), bench())


@pytest.mark.parametrize("memory_latency", [1, 2])
def test_sums_and_results_reach_their_banks(memory_latency):
    """Both banks are named in one cycle if the array folds into one and the output stage into the other."""
    config, random = small(memory_latency=memory_latency), np.random.default_rng(0)
    delay, read_latency = FoldRouter.delay(config), AccumulatorBank.read_latency(config)
    assert delay == PixelReader.latency(config) + SystolicArray.latency(config) - read_latency

    def bench():
        issued, fed = deque([None] * delay), deque([None] * read_latency)
        for _ in range(300):
            array_bank = int(random.integers(2))
            fold = {
                "row.valid": int(random.random() < 0.6),
                "row.row": int(random.integers(config.accumulator_rows)),
                "row.fold": int(random.integers(3)),
                "row.held": int(random.integers(2)),
                "bank": array_bank,
                **{name: int(random.integers(2)) for name in ("release", "release_last", "release_weights")},
            }
            issued.append(fold)
            now = issued.popleft()
            # The array and the output stage do not name rows of the same bank in one cycle.
            feedback = {
                "valid": int(random.random() < 0.5),
                "bank": 1 - now["bank"] if now else int(random.integers(2)),
                "row": int(random.integers(config.accumulator_rows)),
                "fold": int(random.integers(3)),
            }
            fed.append(feedback)
            answered = fed.popleft()
            sums = random.integers(-(2**17), 2**17, config.columns).tolist()
            results = random.integers(-(2**31), 2**31, config.columns).tolist()
            seen = yield {
                **{f"issued.{name}": value for name, value in fold.items()},
                **{f"feedback.{name}": value for name, value in feedback.items()},
                **{f"sums.{c}": value for c, value in enumerate(sums)},
                **{f"results.{c}": value for c, value in enumerate(results)},
            }
            for name in ("release", "release_last", "release_weights"):
                assert seen[name] == bool(now and now[name])
            for bank in range(2):
                named = {name: seen[f"banks.{bank}.fold.{name}"] for name in ("valid", "row", "fold", "held")}
                if feedback["valid"] and feedback["bank"] == bank:
                    wanted = {**{name: feedback[name] for name in ("valid", "row", "fold")}, "held": 0}
                elif now and now["row.valid"] and now["bank"] == bank:
                    wanted = {name: now[f"row.{name}"] for name in named}
                else:
                    wanted = named | {"valid": 0}
                assert named == wanted
                values = [seen[f"banks.{bank}.values.{c}"] for c in range(config.columns)]
                from_output = answered and answered["valid"] and answered["bank"] == bank
                assert values == (results if from_output else sums)

    rtl.run(FoldRouter(config), bench())


@pytest.mark.parametrize("residual_words", [0, 32])
@pytest.mark.parametrize("memory_latency", [1, 3])
def test_rows_come_from_the_requested_bank_or_residual_memory(residual_words, memory_latency):
    config = small(memory_latency=memory_latency, residual_words=residual_words)
    random = np.random.default_rng(residual_words)
    latency = RowReader.latency(config)

    def bench():
        asked = deque([None] * latency)
        for _ in range(200):
            read = {
                "valid": int(random.random() < 0.8),
                "residual": int(bool(residual_words) and random.random() < 0.4),
                "bank": int(random.integers(2)),
                "row": int(random.integers(config.accumulator_rows)),
            }
            rows = random.integers(-(2**31), 2**31, (2, config.columns))
            residuals = random.integers(-128, 128, config.columns)
            packed = {f"banks.{b}.data": sum(int(v) % 2**32 << 32 * c for c, v in enumerate(rows[b])) for b in range(2)}
            if residual_words:
                packed["residual.data"] = sum(int(v) % 256 << 8 * c for c, v in enumerate(residuals))
            seen = yield {**packed, **{f"read.{name}": value for name, value in read.items()}}
            for bank in range(2):
                enabled = read["valid"] and not read["residual"] and read["bank"] == bank
                assert seen[f"banks.{bank}.enable"] == bool(enabled)
                assert not enabled or seen[f"banks.{bank}.address"] == read["row"]
            if residual_words:
                enabled = read["valid"] and read["residual"]
                assert seen["residual.enable"] == bool(enabled)
                assert not enabled or seen["residual.address"] == read["row"]
            asked.append(read)
            if answered := asked.popleft():
                wanted = residuals if answered["residual"] else rows[answered["bank"]]
                assert [seen[f"values.{c}"] for c in range(config.columns)] == wanted.tolist()

    rtl.run(RowReader(config), bench())


@pytest.mark.parametrize("memory_latency", [1, 3])
@pytest.mark.parametrize("columns", [4, 2])
def test_halves_of_the_output_memory_alternate(memory_latency, columns):
    """Words, some of them in lanes, are read back from the half that was committed; writes for others are ignored."""
    config = small(columns=columns, memory_latency=memory_latency, residual_words=0, depthwise=0)
    random, lanes = np.random.default_rng(columns), config.tiles_per_word
    lane_bits = 8 * config.rows // lanes
    halves = [[0] * config.output_words for _ in range(2)]
    delay = ResultMemory.commit_delay(config)

    def bench():
        for number in range(5):
            half, length = number % 2, int(random.integers(1, config.output_words + 1))
            for address in random.permutation(config.output_words).tolist():
                data = int.from_bytes(random.bytes(config.rows), "little")
                enabled, kept = int(random.integers(1, 1 << lanes)), int(random.random() < 0.8)
                yield {
                    "write.output": kept,
                    "write.activation": 1 - kept,
                    "write.address": address,
                    "write.data": data,
                    "write.lanes": enabled,
                }
                for lane in range(lanes):
                    if kept and enabled >> lane & 1:
                        mask = (1 << lane_bits) - 1 << lane_bits * lane
                        halves[half][address] = halves[half][address] & ~mask | data & mask
            seen = yield {"write.output": 0, "write.lanes": 0, "commit": 1, "output_words": length}
            for _ in range(delay):
                assert not seen["committed"]
                seen = yield {"commit": 0}
            assert seen["committed"]
            yield {"commit": 0, "output_words": 0}
            for address in range(config.output_words):
                yield {"read.enable": 1, "read.address": half * config.output_words + address}
                seen = yield {"read.enable": 0}
                assert seen["read.data"] == halves[half][address]
                assert seen["words"] == length

    rtl.run(ResultMemory(config), bench())


def test_latencies_add_up():
    config = small(memory_latency=2)
    assert PixelReader.latency(config) == 3
    assert RowReader.latency(config) == 2
    assert Sequencer.latency(config) == 1
    assert [ResultMemory.commit_delay(small(memory_latency=latency)) for latency in (1, 2, 3, 4)] == [0, 0, 1, 1]
