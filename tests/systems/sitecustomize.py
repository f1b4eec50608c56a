"""Python runs this first in every process that has this folder on its path."""

import importlib
import os
import sys
from pathlib import Path

if system := os.environ.get("MNISTLAB_TEST_SYSTEM"):
    sys.path.insert(0, str(Path(__file__).parents[2]))
    importlib.import_module(f"tests.systems.{system}").install()
    sys.path.pop(0)
