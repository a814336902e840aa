"""The list of slow tests, `tests/slow.txt`, from measured times.

``pytest -n 2 --durations=0 > times.txt; python tests/figures/slow_tests.py times.txt`` writes one line for each
test that takes `LIMIT` seconds or more, its fixtures included. `pytest -m "not slow"` leaves these out.

Measure a second run: the first use of YoWASP's Yosys or nextpnr on a machine compiles it, which takes half a minute,
and counts for whichever test comes first.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

LIMIT = 1.0
"""seconds"""

LIST = Path(__file__).parents[1] / "slow.txt"


def slow(report: str) -> list[str]:
    """Return the slow tests of what ``pytest --durations=0`` prints, in the order of their names."""
    seconds: Counter[str] = Counter()
    for time, name in re.findall(r"^ *([\d.]+)s (?:setup|call|teardown) +(\S.*?) *$", report, re.MULTILINE):
        seconds[name] += float(time)
    return sorted(name for name, total in seconds.items() if total >= LIMIT)


if __name__ == "__main__":
    LIST.write_text("".join(f"{name}\n" for name in slow(Path(sys.argv[1]).read_text())))
