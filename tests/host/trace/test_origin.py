"""An event has the same cycle in `report --passes`, `state`, the page and Perfetto; cycle 0 is the first of the run."""

import json

import numpy as np
import pytest
from support.strategies import int8
from support.traced import CONFIG, network

from etchnet.host.compiler.compile import compile_network
from etchnet.host.importers.load import plain_model
from etchnet.host.reports.report import pass_rows
from etchnet.host.reports.state import ModelRun
from etchnet.host.trace.page_data import arrays, description
from etchnet.host.trace.perfetto import perfetto
from etchnet.host.trace.trace import gather


@pytest.fixture(scope="module")
def observed():
    random = np.random.default_rng(3)
    model = plain_model("small", network(random))
    x = int8(random, (1, model.network.input_size))
    program = compile_network(model.network, CONFIG)
    return gather(model, program, x), ModelRun(model, program, x)


def test_every_pass_begins_in_the_same_cycle_everywhere(observed):
    trace, run = observed
    rows = pass_rows(trace.program)
    first = [row["first_cycle"] for row in rows]
    assert arrays(trace)["issues"].tolist() == first
    events = json.loads(perfetto(trace))["traceEvents"]
    assert [e["args"]["cycle"] for e in events if e.get("cat") == "passes"] == first
    enter = trace.latencies["enter"]
    for number, row in enumerate(rows):
        for cycle, expected in (
            (row["first_cycle"] - 1, number - 1),
            (row["first_cycle"], number),
            (row["last_cycle"], number),
        ):
            assert run.at(cycle + enter, element=(0, 0)).found.number == expected


def test_a_run_has_as_many_cycles_as_its_counter_counts(observed):
    trace, run = observed
    about = description(trace)
    assert about["cycles"] == run.cycles == trace.counts.cycles == trace.segments[-1].start + trace.segments[-1].length
    assert trace.segments[0].start == 0
    assert run.at(0).cycle_since_reset == -about["reset"] == trace.run.origin
    # Everything that the host loads comes before the run.
    assert all(t.start < 0 for t in trace.link_in)
