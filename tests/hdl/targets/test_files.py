"""Files are replaced as a whole, special files are written through, and errors name what the caller named."""

import ast
import errno
import os
import re
import threading
from pathlib import Path

import pytest

from etchnet.hdl.targets import files
from etchnet.hdl.targets.files import ReaderLeftError, replacing, write_bytes, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "a.txt"
    assert write_text(path, "one\n") == path
    assert path.read_bytes() == b"one\n"
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    write_text(path, "\u03bb")
    assert path.read_bytes() == b"\xce\xbb"
    assert names(tmp_path) == ["a.txt"]


def test_nothing_changes_before_the_end(tmp_path):
    """A reader sees the old contents until the new ones are complete; writers get a path with the right suffix."""
    path = tmp_path / "a.npz"
    path.write_text("old")
    with replacing(path) as partial:
        assert (partial.suffix, partial.parent) == (".npz", tmp_path)
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ValueError, OSError(errno.ENOSPC, "full"), SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_nothing_is_left_after_an_exception(tmp_path, exception, old):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)

    def fail():
        with replacing(path) as partial:
            partial.write_text("half of it")
            raise exception

    with pytest.raises(exception if isinstance(exception, type) else type(exception)):
        fail()
    assert names(tmp_path) == (["a.txt"] if old else [])
    assert not old or path.read_text() == old


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, replacing(tmp_path / "a.txt"):
        pass
    assert str(raised.value) == f"[Errno {errno.ENOENT}] {os.strerror(errno.ENOENT)}: '{tmp_path / 'a.txt'}'"


@pytest.mark.parametrize("mode", [0o600, 0o754])
def test_permissions_stay(tmp_path, mode):
    path = tmp_path / "a.sh"
    path.write_text("old")
    path.chmod(mode)
    write_text(path, "new")
    assert path.stat().st_mode & 0o777 == mode


def test_permissions_of_a_new_file_are_the_usual_ones(tmp_path):
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    link, file = tmp_path / "link.txt", tmp_path / "real" / "file.txt"
    link.symlink_to("real/file.txt")
    for text in ("first", "second"):
        write_text(link, text)
        assert link.is_symlink()
        assert file.read_text() == text
    assert names(tmp_path / "real") == ["file.txt"]


def test_a_fifo_is_written_through(tmp_path):
    fifo, read = tmp_path / "fifo.json", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    write_text(fifo, "through")
    reader.join(10)
    assert read == [b"through"]
    assert fifo.is_fifo()
    assert names(tmp_path) == ["fifo.json"]


def test_a_reader_that_leaves_is_an_error_of_its_own(tmp_path):
    """After BrokenPipeError commands exit without a word, as they should if nobody reads their standard output."""
    os.mkfifo(fifo := tmp_path / "fifo")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    def write():
        with replacing(fifo) as path, path.open("wb") as file:
            os.close(reader)
            file.write(b"x")

    with pytest.raises(ReaderLeftError, match="fifo: its reader left before everything was written"):
        write()
    assert fifo.is_fifo()


DIRECT = {
    "hdl/targets/files.py": "the functions that all others use",
    "sim/engines/simulated.py": "waveforms, at the path that `replacing` gave to the command",
    "sim/engines/verilated": "the folder of a build, and the cache, where a library gets its name when it is complete",
    "host/reports/runtimes.py": "the null device, in place of the output of another library",
    "host/tools/tool.py": "logs and inputs of tools, in the folder of a build",
    "host/fpga/synthesis.py": "inputs of tools, in the folder of a build",
    "host/asic/synth.py": "inputs of tools, in a temporary folder",
}
"""files and folders of code that write to paths themselves, and what they write"""
WRITES = r"""\.write_(text|bytes)\( | \.rename\( | \bopen\([^)]*["'][wax]b?["'] | savefig\(
    | \b(os|shutil)\.(replace|rename|copy\w*|move)\( | \bnp\.save\w*\("""


def writes(path):
    """Return the calls of a file of code that write to a path, without those in a block of `replacing`."""
    text = path.read_text()
    if not re.search(WRITES, text, re.VERBOSE):
        return []
    tree = ast.parse(text)
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("replacing(" in ast.unparse(i) for i in node.items)
    ]
    safe = {id(node) for block in blocks for node in ast.walk(block)}
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in safe]
    # numpy writes to memory where its argument is an io.BytesIO.
    return [c for c in calls if re.search(WRITES, c, re.VERBOSE) and not re.search(r"contents|BytesIO", c)]


def test_one_function_writes():
    """All outputs are written through `replacing`, which alone decides what is replaced."""
    root = Path(files.__file__).parents[2]
    paths = {p.relative_to(root).as_posix(): p for wing in ("hdl", "sim", "host") for p in (root / wing).rglob("*.py")}
    found = {name: calls for name, path in paths.items() if (calls := writes(path))}
    others = {name: calls for name, calls in found.items() if not name.startswith(tuple(DIRECT))}
    assert others == {}
    assert all(any(name.startswith(direct) for name in found) for direct in DIRECT)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="/dev/full is not a device")
@pytest.mark.parametrize("linked", [False, True])
def test_a_device_is_written_through_and_named_in_its_error(tmp_path, linked):
    path = "/dev/full"
    if linked:
        path = tmp_path / "link"
        path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{path}'")):
        write_bytes(type(tmp_path)(path), b"x" * 100_000)
    assert Path("/dev/full").is_char_device()


def unwritable(folder):
    folder.chmod(0o555)
    return folder / "a.txt", errno.EACCES


def a_file(folder):
    (folder / "file").write_text("")
    return folder / "file" / "a.txt", errno.ENOTDIR


def missing(folder):
    return folder / "missing" / "a.txt", errno.ENOENT


def a_folder(folder):
    (folder / "b").mkdir()
    return folder / "b", errno.EISDIR


def read_only(folder):
    (folder / "c.txt").write_text("kept")
    (folder / "c.txt").chmod(0o444)
    return folder / "c.txt", errno.EACCES


@pytest.mark.parametrize("make", [unwritable, a_file, missing, a_folder, read_only])
def test_errors_name_the_file_that_was_to_be_written(tmp_path, monkeypatch, make):
    path, number = make(tmp_path)
    before = names(tmp_path)
    monkeypatch.chdir(tmp_path)
    root = os.geteuid() == 0
    if root:
        # Permissions do not bind root. Relative paths need no access to parent folders.
        tmp_path.chmod(0o555)
        os.seteuid(65534)
    try:
        with pytest.raises(OSError, match=re.escape(f": '{path.relative_to(tmp_path)}'")) as raised:
            write_text(path.relative_to(tmp_path), "x")
    finally:
        if root:
            os.seteuid(0)
    assert raised.value.errno == number
    assert raised.value.filename2 is None
    assert names(tmp_path) == before
    tmp_path.chmod(0o755)


def test_errors_of_other_files_keep_their_names(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"other\.txt"), replacing(tmp_path / "a.txt"):
        (tmp_path / "other.txt").read_text()


def test_simultaneous_writers_do_not_interfere(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert path.read_text() == "1"
    assert names(tmp_path) == ["a.txt"]
