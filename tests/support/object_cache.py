"""A compiler cache for the C++ files that come with Verilator, which take longer to compile than a small machine.

``python object_cache.py FOLDER COMPILER ARGUMENTS`` runs the compiler, or copies the object of an earlier run with the
same arguments and the same file. All other files are compiled as they are.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def key(command: list[str], source: Path) -> str:
    """Return a name for the object of a command."""
    stat = os.stat(shutil.which(command[0]) or command[0])
    parts = [*command, source.read_bytes(), f"{stat.st_size} {stat.st_mtime_ns}"]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def main(folder: Path, command: list[str]) -> int:
    """Make the object of a command; return the exit status."""
    source, target = Path(command[-1]), Path(command[command.index("-o") + 1]) if "-o" in command else None
    if target is None or source.name not in {path.name for path in source.parent.glob("verilated*.cpp")}:
        return subprocess.run(command, check=False).returncode
    kept = folder / f"{key(command, source)}.o"
    if not kept.exists():
        done = subprocess.run(command, check=False)
        if done.returncode:
            return done.returncode
        folder.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copyfile(target, partial)
        partial.replace(kept)
    shutil.copyfile(kept, target)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
