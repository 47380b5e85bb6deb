"""nbval's kernels, as those of the book's pages (workflow/execute.py), know none of the user's settings."""

import os
from pathlib import Path

for name in list(os.environ):
    if name.startswith(("IPYTHON", "JUPYTER", "MATPLOTLIB", "MPL", "PYTHONSTARTUP")):
        del os.environ[name]
os.environ["HOME"] = str(Path("build/home").absolute())
