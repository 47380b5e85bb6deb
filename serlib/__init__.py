"""A companion to Kim & Lee (2024): from recordings to a rendered account of what the paper's claims come to.

``audio files - corpora - features - model - stages - run record - figures - notebooks - book``

Each module knows only what stands left of it; a run record is the only thing that crosses from computing to telling.
Nothing is imported here, so that ``import serlib`` costs nothing.
"""

__version__ = "0.1.0"
