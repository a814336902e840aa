from .hdl.isa.config import Config as Config
from .host.driver.driver import Accelerator as Accelerator
