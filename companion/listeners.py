"""How often listeners named the emotion that the actor was asked for: the tables of :mod:`workflow.listeners`."""

from pathlib import Path

import pandas as pd

SCORES = {"emodb": "mean share", "crema-d": "majority vote"}  # what a recording's number is


def read(table: Path) -> tuple[list[str], list[float]]:
    """Speakers, and for each recording in [0, 1] how far it was recognised."""
    rows = pd.read_csv(table, dtype={"speaker": str, "recognised": float}, keep_default_na=False)
    return rows["speaker"].tolist(), rows["recognised"].tolist()
