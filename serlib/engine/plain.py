"""Dataclasses as JSON and back, and the digests that identify them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from serlib.errors import SerlibError
from serlib.files import atomic_write, require_file


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, for JSON."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # here, because reading this module must not wait for it

    return TypeAdapter(kind)


def from_plain(kind: Any, values: Any) -> Any:
    """A value of type ``kind`` from its form as :func:`plain` and JSON; a missing field gets its default.

    Raises:
        ValueError: a field is unknown, missing without a default, of another type, or of a value that the class refuses;
            one line.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(json.dumps(values), strict=True, extra="forbid")
    except ValidationError as error:
        raise SerlibError("; ".join(map(_reason, error.errors()))) from error


def _reason(error: Mapping[str, Any]) -> str:
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}".removeprefix(": ").replace("Value error, ", "")


def canonical(value: Any) -> str:
    """The one JSON text of plain values: names in order, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(*configs: Any) -> str:
    """SHA-256 (hex) over dataclasses and plain values, the same on every machine."""
    return hashlib.sha256(canonical([plain(value) for value in configs]).encode()).hexdigest()


def write_json(values: dict[str, Any], path: str | Path) -> None:
    """Write plain values by name as JSON, with their digest."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({**values, "digest": digest(values)}), encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """The values that :func:`write_json` wrote.

    Raises:
        ValueError: the file holds something else, or was changed since.
    """
    values = json.loads(require_file(path).read_text(encoding="utf-8"))
    if not isinstance(values, dict) or values.pop("digest", None) != digest(values):
        raise ValueError("not the values that its digest covers")
    return values
