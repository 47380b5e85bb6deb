"""Check the parameters given to a notebook against its own; the module imports only what that needs."""

import ast
from collections.abc import Iterable
from typing import Any

from serlib.errors import SerlibError


def check(declared: str, injected: Iterable[str]) -> None:
    """Check the injected parameters against the notebook's own ``parameters`` cell; both are source text."""
    defaults = assigned(declared)
    for cell in injected:
        for name, value in assigned(cell).items():
            if name not in defaults:
                raise SerlibError(f"unknown parameter {name!r}; this notebook takes {', '.join(defaults)}")
            wanted = type(defaults[name])
            if type(value) is not wanted and (type(value), wanted) != (int, float):
                advice = "; papermill passes text by -r instead of -p" if wanted is str else ""
                raise SerlibError(f"parameter {name} = {value!r}: expected {wanted.__name__}{advice}")


def assigned(source: str) -> dict[str, Any]:
    """The values that a cell assigns, by name."""
    values = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                values[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError as error:  # papermill writes float("nan") so
                raise SerlibError(f"parameter {ast.unparse(node)}: no number and no text") from error
    return values
