"""Dataclasses as JSON and back, and what identifies them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from serlib.errors import SerlibError

Kind = TypeVar("Kind")


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, for JSON."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


@cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter  # here, because reading this module must not wait for it

    return TypeAdapter(kind)


def from_plain(kind: type[Kind], values: Any) -> Kind:
    """The dataclass ``kind`` from what :func:`plain` and JSON made of one, as :func:`from_json`."""
    return from_json(kind, json.dumps(values))


def from_json(kind: type[Kind], text: str, extra: Literal["forbid", "ignore"] = "forbid") -> Kind:
    """The dataclass ``kind`` from a JSON text; defaults where a field is missing.

    Raises:
        ValueError: a field is unknown (unless ``extra`` says to ignore it), missing without a default, of another type,
            or of a value that the class refuses; one line.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(text, strict=True, extra=extra)
    except ValidationError as error:
        raise SerlibError("; ".join(map(_reason, error.errors()))) from error


def _reason(error: Mapping[str, Any]) -> str:
    field = ".".join(map(str, error["loc"]))
    return f"{field}: {error['msg']}".removeprefix(": ").replace("Value error, ", "")


def canonical(value: Any) -> str:
    """The one JSON text of plain values: names in order, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(*configs: Any) -> str:
    """SHA-256 (hex) over dataclasses and plain values, the same on every machine."""
    return hashlib.sha256(canonical([plain(value) for value in configs]).encode()).hexdigest()
