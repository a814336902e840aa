"""A matmul-and-ReLU systolic array for int8 neural networks: gateware, exact simulator and driver.

The public names are listed in `__init__.pyi`, and imported when they are first used. `etchnet.hdl`, `etchnet.sim` and
`etchnet.host` hold more of them, for those who look inside the machine.
"""

from importlib import metadata

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = metadata.version("etchnet")
