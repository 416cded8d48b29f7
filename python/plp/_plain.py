"""Records and options as plain data, for JSON, and back: what comes back is of the kinds that its type names.

Dataclasses become dicts; where a field takes one of several, such as an optimizer, ``"type"`` says which it is. Fields
with ``metadata=APART`` are left out, and have their defaults in what comes back. Classes with methods ``_to_plain`` and
``_from_plain`` see to themselves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

from ._plp import Error

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

APART = {"plain": False}


def to_plain(value: Any) -> Any:
    """Dicts, lists, texts and numbers; numbers of other kinds (NumPy's, fractions) as the type of their field says.

    Raises:
        ValueError: something is of another kind than its type says.
    """
    try:
        return _converter().unstructure(value)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{value!r:.80}: {error}") from None


def from_plain(cls: type[T], data: Any) -> T:
    """What :func:`to_plain` was given.

    Raises:
        ValueError: something is missing, unknown, or of another kind than its type says; the message names the first.
    """
    from cattrs import ForbiddenExtraKeysError, transform_error

    def in_words(error: BaseException, _: type | None) -> str:
        if isinstance(error, KeyError):
            return "found nothing"
        if isinstance(error, ForbiddenExtraKeysError):
            return f"found {', '.join(map(repr, sorted(error.extra_fields)))}"[:200] + ", which does not belong there"
        return (
            str(error)
            if isinstance(error, ValueError | OSError | Error)
            else "found another kind of value than expected"
        )

    try:
        return _converter().structure(data, cls)
    except Exception as error:  # a group, whose members may be of any kind
        raise ValueError(transform_error(error, cls.__name__, in_words)[0].replace(" @ ", ", in ")) from None


def differences(name: str, found: Any, expected: Any) -> Iterator[str]:
    """Which fields of two records differ, by their names, those of options within options too."""
    if is_dataclass(found) and type(found) is type(expected):
        found, expected = (
            {part.name: getattr(record, part.name) for part in fields(record)} for record in (found, expected)
        )
    if isinstance(found, dict) and isinstance(expected, dict):
        for part in expected | found:
            inner = f"{name}.{part}" if name else part
            yield from differences(inner, found.get(part), expected.get(part))
    elif found != expected:
        yield f"{name} is {found}, expected {expected}"


@cache
def _converter() -> Converter:
    from cattrs import Converter  # loaded here, since it takes its time
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

    converter = Converter(forbid_extra_keys=True)

    def number_or_text(cls: type, plain: Callable[[Any], Any], kind: str, *accepted: type) -> None:
        def structure(value: Any, _: type) -> Any:
            if type(value) not in accepted or isinstance(value, float) and not isfinite(value):
                raise ValueError(f"found {value!r:.40}, expected {kind}")
            return plain(value)

        converter.register_structure_hook(cls, structure)
        converter.register_unstructure_hook(cls, plain)

    number_or_text(bool, bool, "true or false", bool)
    number_or_text(int, operator.index, "a whole number", int)
    number_or_text(float, float, "a finite number", float, int)
    number_or_text(str, str, "text", str)

    @converter.register_structure_hook_factory(lambda cls: bool(_apart(cls)))
    def structure_parts(cls: Any) -> Any:
        return make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, **_omitted(cls))

    @converter.register_unstructure_hook_factory(lambda cls: bool(_apart(cls)))
    def unstructure_parts(cls: Any) -> Any:
        return make_dict_unstructure_fn(cls, converter, **_omitted(cls))

    converter.register_structure_hook_func(
        lambda cls: hasattr(cls, "_from_plain"), lambda data, cls: cls._from_plain(data)
    )
    converter.register_unstructure_hook_func(lambda cls: hasattr(cls, "_to_plain"), lambda value: value._to_plain())

    @converter.register_structure_hook_factory(_is_choice)
    def structure_choice(choice: Any) -> Callable[[Any, Any], Any]:
        kinds = {cls.__name__: cls for cls in get_args(choice) if cls is not NoneType}

        def structure(value: Any, _: Any) -> Any:
            if value is None and NoneType in get_args(choice):
                return None
            fields = dict(value)
            kind = fields.pop("type", None)
            if kind not in kinds:
                raise ValueError(f"found type {kind!r:.40}, expected one of {', '.join(kinds)}")
            return converter.structure(fields, kinds[kind])

        return structure

    @converter.register_unstructure_hook_factory(_is_choice)
    def unstructure_choice(choice: Any) -> Callable[[Any], Any]:
        def unstructure(value: Any) -> Any:
            return None if value is None else {"type": type(value).__name__, **converter.unstructure(value)}

        return unstructure

    return converter


def _is_choice(cls: Any) -> bool:
    """Whether it is a union of several dataclasses."""
    parts = [part for part in get_args(cls) if part is not NoneType]
    return get_origin(cls) in (Union, UnionType) and len(parts) > 1 and all(map(is_dataclass, parts))


def _apart(cls: Any) -> list[str]:
    """The names of a dataclass's fields that are left out."""
    return [part.name for part in fields(cls) if part.metadata == APART] if is_dataclass(cls) else []


def _omitted(cls: Any) -> dict[str, Any]:
    from cattrs.gen import override

    return {name: override(omit=True) for name in _apart(cls)}
