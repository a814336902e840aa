"""Random quantised ONNX graphs against ONNX Runtime, by the thousand.

``python -m campaigns.onnx_graphs --count 10000`` in the folder `tests`. A case is made from its seed alone: a campaign
continues with ``--seed``, and ``--seed N --count 1 --save FOLDER`` writes one case, shrunk if it fails.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from campaigns.summary import Result, Summary
from support.qdq.cases import make_case
from support.qdq.compare import DIFFERENT, INVALID, REFUSED, TRACEBACK, Outcome, compare, float_operators
from support.qdq.shrink import save_case

_CHUNK = 20
_ON_MACHINE = 2
"""every how many seeds a case is compiled and runs on the exact engine, and not with the layers alone"""


def run_seed(seed: int, folder: Path | None = None) -> Result:
    """Make a case and compare; what fails, and what is saved on request, goes into `folder`."""
    try:
        case = make_case(seed)
    except Exception as error:  # a campaign goes on
        return Result(seed, "none", Outcome(INVALID, f"not made: {type(error).__name__}: {error}"))
    machine = seed % _ON_MACHINE == 0
    outcome = compare(case.data, case.inputs, machine=machine)
    floats = tuple(float_operators(case.data)) if outcome.kind == REFUSED else ()
    if folder and outcome.kind in (DIFFERENT, TRACEBACK):
        save_case(folder, f"{seed:06}", case.data, case.inputs, outcome, machine=machine)
    return Result(seed, case.family, outcome, floats)


def _chunk(seeds: range, folder: Path | None) -> list[Result]:
    return [run_seed(seed, folder) for seed in seeds]


def run(first: int, count: int, *, jobs: int, folder: Path | None = None) -> Summary:
    """Run `count` cases in `jobs` processes, with a line of progress on standard error."""
    summary = Summary()
    context = multiprocessing.get_context("spawn")
    chunks = [range(s, min(s + _CHUNK, first + count)) for s in range(first, first + count, _CHUNK)]
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=os.nice, initargs=(10,)) as pool:
        try:
            for done in as_completed([pool.submit(_chunk, seeds, folder) for seeds in chunks]):
                summary.results += done.result()
                summary.show(count)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
    summary.results.sort(key=lambda result: result.case)
    return summary


def main() -> int:
    """Run the command; returns 1 if something is different, or an error that is not a refusal."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.onnx_graphs", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10000, help="number of graphs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="where to write what fails, shrunk")
    arguments = parser.parse_args()
    summary = run(arguments.seed, arguments.count, jobs=arguments.jobs, folder=arguments.save)
    print(summary.text())
    print(f"the next seed is {arguments.seed + len(summary.results)}")
    return int(any(summary.count(kind) for kind in (DIFFERENT, TRACEBACK)))


if __name__ == "__main__":
    sys.exit(main())
