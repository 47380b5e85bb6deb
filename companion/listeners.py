"""How often listeners named the emotion that the actor was asked for: the tables of :mod:`workflow.listeners`."""

from pathlib import Path

import pandas as pd

SCORES = {"emodb": "mean share", "crema-d": "most named"}  # the meaning of a recording's score


def read(table: Path) -> tuple[list[str], list[float]]:
    """The speaker of each recording, and its score of recognition in [0, 1]."""
    rows = pd.read_csv(table, dtype={"speaker": str, "recognised": float}, keep_default_na=False)
    return rows["speaker"].tolist(), rows["recognised"].tolist()
