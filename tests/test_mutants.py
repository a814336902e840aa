"""The campaign `mutants`: what it changes, and what it counts as noticed."""

import itertools
import shutil
from pathlib import Path

import pytest
from support.mutation import blocks, child, coverage_map, judge, known, operators, report
from support.mutation.worker import ROOT, Worker

from etchnet.hdl.isa.config import Config

SENDER = "hdl/core/control/sender.py"

SOURCE = '''"""Not 1 + 1."""
from x import f
LIMIT: int = 7

class Part:
    def elaborate(self, width: "1 + 1" = 2):
        """Not 2 + 2."""
        m = Module()
        m.d.comb += [self.a.eq(Mux(b, c, d)), self.e.eq(b)]
        with m.If(b & c):
            m.d.sync += f.eq(e[width:])
        if width < 3 and not m:
            raise ValueError(f"{width + 1} is not {1 + 2}")
        assert width == 4
        return Signal(5, name="six" + "seven", reset_less=True)
'''


def changed(source):
    """Return the lines after each change, by operator."""
    raw = source.encode()
    found = operators.mutants("part.py", raw)
    groups = itertools.groupby(sorted(found, key=lambda m: m.operator), key=lambda m: m.operator)
    return {operator: [mutant.diff(raw)[1] for mutant in group] for operator, group in groups}


def test_every_operator_changes_what_it_should():
    after = changed(SOURCE)
    assert after["swap"] == ["m.d.comb += [self.a.eq(Mux(b, d, c)), self.e.eq(b)]"]
    assert after["domain"] == [
        "m.d.sync += [self.a.eq(Mux(b, c, d)), self.e.eq(b)]",
        "m.d.comb += f.eq(e[width:])",
    ]
    assert after["bits"] == ["with m.If(b | c):"]
    assert after["negate"] == ["with m.If((b & c) == 0):", "if not (width < 3 and not m):"]
    assert after["slice"] == ["m.d.sync += f.eq(e[width + 1:])", "m.d.sync += f.eq(e[width - 1:])"]
    assert after["bool"] == ["if width < 3 or not m:"]
    assert after["compare"] == ["if width <= 3 and not m:", "if width >= 3 and not m:"]
    assert after["unary"] == ["if width < 3 and (m):"]
    assert after["drop"] == [
        "pass",
        "m.d.comb += [*(), self.e.eq(b)]",
        "m.d.comb += [self.a.eq(Mux(b, c, d)), *()]",
        "pass",
    ]
    constants = {line.strip("()") for line in after["constant"]}
    assert constants == {
        *("LIMIT: int = 6", "LIMIT: int = 8"),
        *('def elaborate(self, width: "1 + 1" = 1):', 'def elaborate(self, width: "1 + 1" = 3):'),
        *("if width < 2 and not m:", "if width < 4 and not m:"),
        'return Signal(4, name="six" + "seven", reset_less=True',
        'return Signal(6, name="six" + "seven", reset_less=True',
    }
    assert set(after) == {"swap", "domain", "bits", "negate", "slice", "bool", "compare", "unary", "drop", "constant"}


def test_mutants_of_a_file_are_distinct_and_valid():
    source = (ROOT / SENDER).read_bytes()
    found = operators.mutants(SENDER, source)
    texts = {mutant.applied(source) for mutant in found}
    assert len(texts) == len(found) > 100
    assert source not in texts
    assert all(operators.valid(mutant, source) for mutant in found[::10])
    assert {mutant.scope for mutant in found} == {"Sender.__init__", "Sender.latency", "Sender.elaborate"}


def test_what_cannot_be_parsed_or_means_the_same_is_not_valid():
    where = "part.py", 4, 5
    assert operators.valid(operators.Mutant(*where, "2", "constant", (1, 1), ""), b"a = 1")
    assert not operators.valid(operators.Mutant(*where, "(1)", "constant", (1, 1), ""), b"a = 1")
    assert not operators.valid(operators.Mutant(*where, "(", "constant", (1, 1), ""), b"a = 1")


def test_blocks_have_every_file_of_the_gateware_once():
    found = [path for block in blocks.BLOCKS for path in blocks.files(ROOT, block)]
    assert len(set(found)) == len(found)
    folders = [ROOT / "hdl" / name for name in ("blocks", "core", "buses", "serial")]
    gateware = {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*.py")}
    assert {path for path in gateware if not path.endswith("__init__.py")} <= set(found)
    patterns = [pattern for part in blocks.BLOCKS.values() for pattern in part]
    assert [pattern for pattern in patterns if not list(ROOT.glob(pattern))] == []


def test_a_seed_draws_the_same_mutants_and_a_larger_count_more(monkeypatch):
    monkeypatch.setattr(blocks, "LEAST", 5)
    names = ["gateware: sender", "gateware: accumulators"]
    few, many = (blocks.draw(ROOT, 3, count, names) for count in (10, 20))
    assert few == blocks.draw(ROOT, 3, 10, names)
    assert set(few) < set(many)
    assert [sum(block == name for block, _ in few) for name in names] == [5, 5]
    assert set(few) != set(blocks.draw(ROOT, 4, 10, names))


TINY = """
def add(a, b):
    return a + b

def double(a):
    return 2 * a

def unused(a):
    return a - 1
"""
TESTS = """
from etchnet.hdl.tiny import add, double

def test_add():
    assert add(2, 3) == 5

def test_double():
    assert double(0) == 0
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a package of one file with one good and one weak test, and none of one function."""
    (tmp_path / "hdl").mkdir()
    for name, text in (("__init__.py", ""), ("hdl/__init__.py", ""), ("hdl/tiny.py", TINY)):
        (tmp_path / name).write_text(text)
    shutil.copytree(ROOT / "tests/support/mutation", tmp_path / "tests/support/mutation")
    (tmp_path / "tests/hdl").mkdir()
    (tmp_path / "tests/hdl/test_tiny.py").write_text(TESTS)
    shutil.copy(ROOT / "tests/conftest.py", tmp_path / "tests/conftest.py")
    (tmp_path / "tests/slow.txt").touch()
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\n')
    monkeypatch.setattr(coverage_map, "ROOT", tmp_path)
    return tmp_path


def test_a_weak_test_lets_mutants_survive(package, tmp_path):
    pytest.importorskip("coverage")
    tests = coverage_map.TestMap.measured(tmp_path / "cache", say=lambda line: None)
    assert len(tests.seconds) == 2
    found = {}
    with Worker(root=package) as worker:
        for mutant in operators.mutants("hdl/tiny.py", TINY.encode()):
            result = judge.judge(worker, tests, "tiny", mutant, budget=60)
            found[result.after] = (result.outcome, result.test.partition("::")[2], result.covered)
        assert (worker.root / "hdl/tiny.py").read_text() == TINY
    assert found == {
        "return a - b": ("killed", "test_add", True),
        "return 2 // a": ("crashed", "test_double", True),
        "return 1 * a": ("survived", "", True),
        "return 3 * a": ("survived", "", True),
        "return a + 1": ("survived", "", False),
        "return a - 0": ("survived", "", False),
        "return a - 2": ("survived", "", False),
    }
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.json")}
    assert coverage_map.TestMap.measured(tmp_path / "cache") == tests
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.json")}


def raised(action, *arguments):
    """Return what is raised, and the files of its traceback."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any
        action(*arguments)
    return caught.value, [str(entry.path) for entry in caught.traceback]


def test_only_a_test_or_an_error_of_the_package_kills():
    def false():
        assert not Config

    error, frames = raised(false)
    assert child.verdict(error, frames) == child.KILLED
    assert child.verdict(error, [*frames, "/lib/amaranth/hdl/_ast.py"]) == child.CRASHED
    assert child.verdict(error, [*frames, str(ROOT / SENDER)]) == child.CRASHED
    assert child.verdict(*raised(Config, 0)) == child.KILLED
    assert child.verdict(*raised(pytest.fail, "no")) == child.KILLED
    assert child.verdict(*raised(int, "x")) == child.CRASHED
    assert child.verdict(child.TimeUp(), []) == child.TIMED_OUT
    assert child.verdict(ExceptionGroup("two", [ValueError(), error]), []) == child.KILLED


ENTRY = """# A comment.
hdl/tiny.py add
- return a + b
+ return a - b
equivalent: it is
not.
"""


def test_an_entry_is_found_wherever_its_lines_are(package):
    file = package / "known.txt"
    file.write_text(ENTRY)
    (entry,) = known.read(file, package).items()
    (package / "hdl/tiny.py").write_text("\n\nLIMIT = 3\n" + TINY)
    assert known.read(file, package) == dict([entry])
    assert entry[1] == (known.EQUIVALENT, "it is not.")
    source = TINY.encode()
    keys = [known.Key.of(mutant, source) for mutant in operators.mutants("hdl/tiny.py", source)]
    assert keys.count(entry[0]) == 1


@pytest.mark.parametrize(
    ("before", "after"), [("a + b", "a + c"), ("add", "sub"), ("tiny", "large"), ("equivalent: ", "")]
)
def test_an_entry_that_fits_nothing_is_an_error(package, before, after):
    file = package / "known.txt"
    file.write_text(ENTRY.replace(before, after))
    with pytest.raises(known.UnknownMutantError):
        known.read(file, package)


def test_every_known_mutant_exists():
    known.read(Path(__file__).with_name("campaigns") / "known_mutants.txt", ROOT)


def test_the_score_is_of_those_that_were_killed_or_survived():
    def result(outcome, block="a"):
        return judge.Result(block, "f.py", 1, "f", "drop", "x", "y", outcome)

    outcomes = ["killed"] * 1999 + ["survived", "crashed", "timed out", "equivalent"]
    results = [*map(result, outcomes), result("crashed", "b")]
    assert report.score(results) == 1999 / 2000
    assert report.rows(results, ["a", "b", "c"]) == [
        ["a", "2003", "1999", "1", "1", "1", "1", "99.9%"],
        ["b", "1", "0", "1", "0", "0", "0", "100.0%"],
        ["all", "2004", "1999", "2", "1", "1", "1", "99.9%"],
    ]
