"""A matmul-and-ReLU systolic array for int8 neural networks: gateware, exact simulator and driver.

Public names are listed in `__init__.pyi` and imported on first use. `etchnet.hdl`, `etchnet.sim` and `etchnet.host`
export further names, for the gateware, the simulator and the host.
"""

from importlib import metadata

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = metadata.version("etchnet")
