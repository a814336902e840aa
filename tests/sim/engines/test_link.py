"""Link traces, and the base class of engines."""

import numpy as np
import pytest

from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.exact.tokens import Progress, ReadyPattern, TokenQueue, TransferLog
from etchnet.sim.engines.link import LinkTrace
from etchnet.sim.engines.simulated import AmaranthEngine


def test_a_recorded_trace_is_ready_in_exactly_those_cycles():
    trace = LinkTrace.recorded([2, 3], [])
    assert list(trace.offers) == [False, False, True, True]
    assert list(trace.accepts) == []


def test_traces_and_engines_have_a_repr():
    trace = LinkTrace([True, False, True], [False])
    assert repr(trace) == "<LinkTrace: offers in 2 of 3 cycles, accepts in 0 of 1 cycles, then always>"
    config = Config(rows=2, columns=3)
    assert repr(ExactEngine(config)) == "<ExactEngine: 2 x 3 machine, tflite-double>"
    assert repr(AmaranthEngine(config)) == "<AmaranthEngine: 2 x 3 machine, tflite-double>"


@pytest.mark.parametrize("start", range(8))
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_ready_pattern_counts_the_cycles_after_its_end(start, count):
    pattern = [False, True, False, True, True, False]
    wanted = [cycle for cycle in range(start, 20) if cycle >= len(pattern) or pattern[cycle]][:count]
    assert list(ReadyPattern(pattern).take(start, count)) == wanted
    assert ReadyPattern(pattern).first(start) == wanted[0]


def test_a_transfer_log_keeps_ranges_and_arrays():
    progress = Progress()
    log = TransferLog(progress)
    assert log.last == -1
    log.extend(range(3, 5))
    log.extend(np.array([7, 9]))
    log.extend(range(0))
    assert (log.count, log.last, progress.events) == (4, 9, 2)
    assert log.cycles().tolist() == [3, 4, 7, 9]


def test_a_token_is_taken_once_and_can_be_waited_for():
    queue = TokenQueue(Progress(), [4])

    def take(how):
        """Run a generator to its result; return None if it waits."""
        try:
            next(how)
        except StopIteration as done:
            return done.value
        return None

    assert take(queue.peek()) == 4
    assert take(queue.take()) == 4
    assert take(queue.take()) is None
    queue.put(9)
    assert take(queue.peek()) == take(queue.take()) == 9
