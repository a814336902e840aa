"""Values as YAML, read back by another library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchnet.host.flows.yaml import to_yaml

texts = st.text(max_size=8) | st.sampled_from(["yes", "No", "null", "1.5", "dir::src/a.v", "pdk::sky130A", "a: b", "-"])
values = st.recursive(
    texts | st.integers() | st.booleans(), lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3)
)


@given(values)
def test_values_are_read_back_unchanged(value):
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(to_yaml(value)) == value
