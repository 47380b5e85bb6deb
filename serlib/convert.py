"""From JSON to a dataclass: the one place where lists become tuples and dictionaries become configurations."""

from reprlib import repr
from typing import Any, TypeVar

from cattrs import BaseValidationError, Converter, transform_error
from cattrs.v import format_exception

Kind = TypeVar("Kind")
CONVERTER = Converter(forbid_extra_keys=True)


def _exactly(value: Any, kind: type) -> Any:
    if type(value) is not kind and (type(value), kind) != (int, float):
        raise ValueError(f"{repr(value)} is no {kind.__name__}")
    return kind(value)


for plain in (str, int, float, bool):  # cattrs alone would make a text of a number, and a number of a text
    CONVERTER.register_structure_hook(plain, _exactly)


def structure(kind: type[Kind], plain: Any) -> Kind:
    """The dataclass ``kind`` from what ``dataclasses.asdict`` and JSON made of one; defaults where a field is missing.

    Raises:
        ValueError: a field is unknown, missing without a default, or of a value that the class refuses; one line.
    """

    def reason(error: BaseException, kind: Any) -> str:
        return str(error) if isinstance(error, ValueError) else format_exception(error, kind)

    if not isinstance(plain, dict):
        raise ValueError(f"{kind.__name__} is no set of fields")
    try:
        return CONVERTER.structure(plain, kind)
    except BaseValidationError as error:
        raise ValueError("; ".join(transform_error(error, kind.__name__, reason))) from error
