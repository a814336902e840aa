"""Selection of the files in a wheel: all folders of the gateware, the simulator and the host, under `etchnet`.

The root of the repository is the package `etchnet`, so a folder's path is its import name. Packages are searched for,
because a list would silently omit a new folder.
"""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = "etchnet"
FOLDERS = ("hdl", "sim", "host")


class BuildPackage(build_py):
    """Build step that takes only `__init__.py` from the root of the repository, not its scripts, such as this one."""

    def find_package_modules(self, package, package_dir):
        """Return (package, module, file) for every module of a package."""
        found = super().find_package_modules(package, package_dir)
        return [each for each in found if package != ROOT or each[1] == "__init__"]


setup(
    cmdclass={"build_py": BuildPackage},
    package_dir={ROOT: "."},
    packages=[ROOT, *(f"{ROOT}.{p}" for p in find_packages(include=[n for f in FOLDERS for n in (f, f"{f}.*")]))],
)
