"""Random quantised graphs, and every setting of `quantize_static`, against ONNX Runtime, byte for byte.

The campaigns of `tests/campaigns` in small.
"""

import os

import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
import onnx
from campaigns import onnx_graphs, quantize_static
from campaigns.summary import Summary
from support.onnx_runtime import same_formulas
from support.qdq.cases import FAMILIES, make_case
from support.qdq.compare import DIFFERENT, EQUAL, TRACEBACK, compare, theirs

pytestmark = [same_formulas, pytest.mark.filterwarnings("ignore")]


def held(summary, share):
    """Check that nothing is different or a traceback, and that at least a share of the files runs."""
    assert not summary.count(DIFFERENT), summary.text()
    assert not summary.count(TRACEBACK), summary.text()
    assert summary.count(EQUAL) >= share * len(summary.results), summary.text()


def test_random_graphs():
    summary = Summary([onnx_graphs.run_seed(seed) for seed in range(120)])
    assert {result.family for result in summary.results} == set(FAMILIES)
    held(summary, 0.8)


@pytest.mark.campaign
def test_campaign_of_random_graphs():
    held(onnx_graphs.run(0, 10_000, jobs=os.cpu_count() or 1), 0.85)


def test_settings_of_quantize_static():
    held(quantize_static.run(every=29), 0.7)


@pytest.mark.campaign
def test_campaign_of_all_settings_of_quantize_static():
    held(quantize_static.run(), 0.8)


def test_the_comparison_sees_one_scale_that_differs(monkeypatch):
    """Give the runtime a file of which one scale is doubled."""
    case = next(case for case in map(make_case, range(20)) if compare(case.data, case.inputs).kind == EQUAL)
    model = onnx.load_from_string(case.data)
    pair = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    scale = next(t for t in model.graph.initializer if t.name == pair.input[1])
    scale.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) * 2, scale.name))
    monkeypatch.setattr("support.qdq.compare.theirs", lambda data, inputs: theirs(model.SerializeToString(), inputs))
    assert compare(case.data, case.inputs).kind == DIFFERENT
