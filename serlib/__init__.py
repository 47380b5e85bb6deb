"""A companion to Kim & Lee (2024): from recordings to a rendered book on the paper's claims.

``audio files - corpora - features - model - stages - run record - figures - notebooks - book``

Each module knows only those to its left; a run record is the only data that pass from training to the book.
Nothing of the package is imported here, so that ``import serlib`` costs nothing.
"""

import getpass
import os

# Before any library is imported: onnxruntime reports usage to its maker otherwise; see SECURITY.md.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
try:  # torch names a folder after the user, who has no entry in the password file of some containers
    getpass.getuser()
except (KeyError, ImportError, OSError):
    os.environ["LOGNAME"] = "serlib"

__version__ = "0.1.0"
