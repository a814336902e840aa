"""Which packages a wheel holds: every folder of the gateware, the simulator and the host, under `etchnet`."""

from setuptools import find_packages, setup

FOLDERS = ("hdl", "sim", "host")

setup(
    package_dir={"etchnet": "."},
    packages=["etchnet"]
    + [f"etchnet.{name}" for name in find_packages(include=[pattern for f in FOLDERS for pattern in (f, f"{f}.*")])],
)
