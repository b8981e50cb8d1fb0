"""A plugin of pytest that runs the library $KERNELS_TO_TEST in place of the installed kernels: see `make sanitize`."""

import os
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location

NAME = "commonweight.kernels._native"
PATH = os.environ["KERNELS_TO_TEST"]

spec = spec_from_file_location(NAME, PATH, loader=ExtensionFileLoader(NAME, PATH))
sys.modules[NAME] = module_from_spec(spec)
spec.loader.exec_module(sys.modules[NAME])
