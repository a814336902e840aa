"""The CPU, its load, and the threads of numpy's BLAS."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from etchnet.host.reports.cpu import Cpu, on_numpy


def test_this_cpu_has_a_name_and_cores():
    cpu = Cpu.now()
    assert cpu.name
    assert cpu.cores >= 1
    assert str(cpu).startswith(f"this CPU: {cpu.name}, {cpu.cores} core")


@pytest.mark.parametrize(
    ("cores", "load", "busy", "text"),
    [
        (2, 0.2, False, "this CPU: Z80, 2 cores, load average 0.2"),
        (1, 0.6, True, "this CPU: Z80, 1 core, load average 0.6: BUSY with other programs, so"),
        (8, 3.9, False, "this CPU: Z80, 8 cores, load average 3.9"),
        (2, None, False, "this CPU: Z80, 2 cores"),
    ],
)
def test_a_busy_cpu_is_said_to_be_busy(cores, load, busy, text):
    cpu = Cpu("Z80", cores, load)
    assert cpu.busy == busy
    assert str(cpu).startswith(text)
    assert ("too long" in str(cpu)) == busy


def threads():
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def test_numpy_runs_on_the_threads_of_its_title():
    np.ones((2, 2)) @ np.ones((2, 2))
    before, seen = threads(), []
    for runtime in on_numpy("numpy", lambda: np.zeros(threads())):
        (result,) = runtime.run()
        assert runtime.name == f"numpy, {len(result)} thread{'s' * (len(result) > 1)}"
        seen.append(len(result))
    assert seen[0] == 1
    assert len(set(seen)) == len(seen)
    assert threads() == before
