"""ONNX Runtime's `quantize_static` on a depthwise residual network, in all combinations of its settings.

``python -m campaigns.quantize_static`` in the folder `tests`; each file is compared with ONNX Runtime, byte for byte.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from campaigns.summary import Result, Summary
from support.qdq import static
from support.qdq.cases import random_inputs
from support.qdq.compare import DIFFERENT, REFUSED, TRACEBACK, compare, float_operators
from support.qdq.network import residual_network
from support.qdq.plans import Plan
from support.qdq.writer import Style, write


def run(every: int = 1, *, progress: bool = False) -> Summary:
    """Quantise the network by every `every`-th row of settings, and compare."""
    random = np.random.default_rng(3)
    network = write(residual_network(), Plan(), Style(opset=17))
    feeds = [{"x0": random.normal(size=(2, 3, 8, 8)).astype(np.float32)} for _ in range(3)]
    rows = static.matrix()[::every]
    summary = Summary()
    for arguments, options in rows:
        data = static.quantise(network, feeds, arguments, options)
        inputs = random_inputs(random, data, feeds[0], None)
        outcome = compare(data, inputs)
        floats = tuple(float_operators(data)) if outcome.kind == REFUSED else ()
        family = arguments["quant_format"].name
        summary.results.append(Result(static.settings_text(arguments, options), family, outcome, floats))
        if progress:
            summary.show(len(rows))
    return summary


def main() -> int:
    """Run the command; returns 1 if something is different, or an error that is not a refusal."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.quantize_static", description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="try every n-th combination (default: %(default)s)")
    summary = run(parser.parse_args().every, progress=True)
    print(summary.text())
    return int(any(summary.count(kind) for kind in (DIFFERENT, TRACEBACK)))


if __name__ == "__main__":
    sys.exit(main())
