"""Run each script named on the command line as `__main__`, one after the other, in one process."""

import runpy
import sys

for script in sys.argv[1:]:
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")
