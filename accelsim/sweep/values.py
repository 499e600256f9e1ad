"""VALUES of a swept key: ``8:128:8``, ``pow2:8:128``, ``[8, 16, 32]``, ``divisors``, or one value.

Both ends of a range belong to it. The ends may have a unit: ``pow2:64 KiB:1 MiB`` and ``100 MHz:1 GHz:100 MHz`` are
whole numbers of bytes and hertz. Steps of decimals are exact: ``0.1:0.5:0.1`` has 0.3, not 0.30000000000000004.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from math import isqrt
from typing import Any, Literal

from accelsim.errors import InputError
from accelsim.units import parse_bytes, parse_frequency_hz
from accelsim.yaml_io import parse_value

Kind = Literal["list", "range", "pow2", "divisors"]
MOST = 1_000_000
FORMS = "8:128:8, pow2:8:128, [8, 16, 32] or divisors"


@dataclass(frozen=True)
class Values:
    """What a key may be, in order. ``items`` is empty for ``divisors``, which depend on the layer."""

    kind: Kind
    items: tuple[Any, ...] = ()
    step: int | float = 1

    def __len__(self) -> int:
        return len(self.items)


def parse_values(given: Any, repeats: bool = False) -> Values:
    """A text or a YAML list as `Values`; ValueError says what is wrong. ``repeats``: a list may have a value twice."""
    if isinstance(given, str) and not given.strip().startswith("["):
        return _from_text(given.strip())
    if isinstance(given, str):
        given = _yaml(given)
    if isinstance(given, list | tuple):
        return _listed(list(given), repeats)
    if given is None or isinstance(given, dict):
        raise ValueError(f"is {given!r}, must be such as {FORMS}")
    return Values("list", (given,))


def _from_text(text: str) -> Values:
    if text == "divisors":
        return Values("divisors")
    if text.startswith("pow2:"):
        return _powers(text, text.removeprefix("pow2:").split(":"))
    if ":" in text:
        return _range(text, text.split(":"))
    if _is_bare_list(text):
        raise ValueError(f'is "{text}", one text; a list has brackets: [{text}]')
    value = _yaml(text)
    if value is None:
        raise ValueError(f"is empty, must be such as {FORMS}")
    return Values("list", (value,))


def _is_bare_list(text: str) -> bool:
    """Whether all that stands between commas is a number: no key has such a text for its value."""
    return bool(re.fullmatch(r"[-+.\d]+(\s*,\s*[-+.\d]+)+", text))


def _yaml(text: str) -> Any:
    try:
        return parse_value(text)
    except InputError as error:
        raise ValueError(error.faults[0].message) from None


def _listed(items: list[Any], repeats: bool) -> Values:
    if not items:
        raise ValueError(f"is an empty list, must be such as {FORMS}")
    seen: set[str] = set()
    for item in items if not repeats else ():
        if repr(item) in seen:  # equal and of one type: 1 is not True
            raise ValueError(f"has {item!r} twice")
        seen.add(repr(item))
    _check_count(f"[{items[0]!r}, ...]", len(items))
    return Values("list", tuple(items))


def _range(text: str, parts: list[str]) -> Values:
    if len(parts) not in (2, 3):
        raise ValueError(f'is "{text}", must be FIRST:LAST or FIRST:LAST:STEP, such as 8:128:8')
    first, last, step = _ends(text, [*parts, "1"][:3])
    if step <= 0 or last < first:
        raise ValueError(f'is "{text}", must go up: a first value, a last one not below it, a step above zero')
    if last - first > step * 10**18:  # before a division that decimals cannot do
        raise ValueError(f'is "{text}", which are more values than can be counted')
    count = int((last - first) // step) + 1
    _check_count(text, count)
    items = tuple(_plain(first + step * i) for i in range(count))
    return Values("range", items, _plain(step))


def _powers(text: str, parts: list[str]) -> Values:
    if len(parts) != 2:
        raise ValueError(f'is "{text}", must be pow2:FIRST:LAST, such as pow2:8:128')
    first, last = _ends(text, parts)
    if first <= 0 or last < first:
        raise ValueError(f'is "{text}", must go up from above zero')
    items = [first]
    while items[-1] * 2 <= last:
        items.append(items[-1] * 2)
    return Values("pow2", tuple(_plain(item) for item in items))


def _ends(text: str, parts: list[str]) -> list[Decimal]:
    readers: tuple[Callable[[str], Decimal], ...] = (
        _decimal,
        _whole(parse_bytes),
        _whole(parse_frequency_hz),
    )
    for read in readers:
        try:
            return [read(part.strip()) for part in parts]
        except (ValueError, ArithmeticError):
            continue
    raise ValueError(f'is "{text}", must be numbers, or amounts of one unit with it: such as {FORMS}')


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


def _whole(parse: Callable[[str], int]) -> Callable[[str], Decimal]:
    return lambda text: Decimal(parse(text))


def _plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _check_count(text: str, count: int) -> None:
    if count > MOST:
        raise ValueError(f'is "{text}", {count} values, at most {MOST} are taken')


def divisors(size: int) -> tuple[int, ...]:
    """All divisors of ``size``, ascending."""
    small = [d for d in range(1, isqrt(size) + 1) if size % d == 0]
    return tuple(small + [size // d for d in reversed(small) if d * d != size])
