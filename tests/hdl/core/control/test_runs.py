"""The starts of runs, and their commands."""

import numpy as np
from support import rtl
from support.machines import small

from etchnet.hdl.core.control.runs import Runs
from etchnet.hdl.isa import RunCommand


def test_runs_start_one_after_the_other_with_their_own_commands():
    config, random = small(), np.random.default_rng(0)
    commands = [
        RunCommand(first_pass=k % 16, passes=1 + k, first_drain=k, drains=8 - k, output_words=16 - k, repeats=3 + k)
        for k in range(6)
    ]
    words = [command.encode(config) for command in commands]

    def bench():
        waiting, held, running, started, quiet = list(words), 0, 0, 0, 1
        while started < len(words) or running:
            pending = int(bool(waiting) and random.random() < 0.5)
            unsent = int(random.random() < 0.5)
            seen = yield {
                "pending": pending,
                "requested": waiting[0] if waiting else 0,
                "running": int(running > 0),
                "unsent": unsent,
            }
            start = pending and not running
            assert (seen["start"], seen["quiet"], seen["held"]) == (start, quiet, held)
            assert seen["current"] == (waiting[0] if start else held)
            quiet = int(not pending and not running and not unsent)
            running = max(0, running - 1)
            if start:
                held, running, started = waiting.pop(0), int(random.integers(1, 6)), started + 1

    rtl.run(Runs(config), bench())


def test_the_command_stays_through_the_run():
    config = small()
    command = RunCommand(first_pass=3, passes=4, first_drain=2, drains=5, output_words=6, repeats=7).encode(config)

    def bench():
        yield {"pending": 1, "requested": command}
        for _ in range(4):
            seen = yield {"pending": 1, "requested": 0, "running": 1}
            assert (seen["start"], seen["current"], seen["held"]) == (0, command, command)

    rtl.run(Runs(config), bench())
