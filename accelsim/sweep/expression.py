"""Safe expressions over keys and results: ``arch.engine.rows*arch.engine.cols <= 4096``, ``cycles*energy_total_pj``.

The text is parsed by Python's own parser, and every node that is not on a short list is refused: there are no
attributes of objects, no subscripts, no calls but a few functions of numbers, and no way to reach Python itself.
A key is a dotted path; one that Python cannot spell is written ``key("mapping.block/1.tile.K")``. Texts with a unit
(``"64 KiB"``, ``"700 MHz"``, ``"100 ns"``, ``"34 GB/s"``) are numbers: bytes, hertz, seconds, bytes a second; the
bits of a number format are ``bits(workload.precision.weight)``.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from accelsim.errors import join_allowed, nearest
from accelsim.units import (
    Bandwidth,
    Duration,
    parse_bandwidth,
    parse_bytes,
    parse_duration,
    parse_frequency_hz,
    parse_ratio,
)
from accelsim.workload.precision import parse_format

Lookup = Callable[[str], Any]
_Code = Callable[[Lookup], Any]
LONGEST = 2000  # characters
LARGEST_POWER = 64


def _bits(number_format: Any) -> int:
    return parse_format(number_format).bits


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "bits": _bits,
    "min": min, "max": max, "abs": abs, "ceil": math.ceil, "floor": math.floor, "round": round,
    "log2": math.log2, "sqrt": math.sqrt,
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip


class EvaluationError(ValueError):
    """An expression has no value here: a key without a value, a text where a number is needed."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression. ``keys`` are the dotted names in it, in the order in which they appear."""

    text: str
    keys: tuple[str, ...]
    _code: _Code

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse ``text``; ValueError says what is not allowed in it."""
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f'is {text!r}, must be an expression such as "arch.engine.rows <= 64"')
        if len(text) > LONGEST:
            raise ValueError(f"is {len(text)} characters long, at most {LONGEST} are taken")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what Python merely doubts, such as 16and, is no expression either
                tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, Warning, ValueError, RecursionError, MemoryError) as error:
            why = error.msg if isinstance(error, SyntaxError) else str(error)
            raise ValueError(f'"{text}" is no expression: {why}') from None
        keys: dict[str, None] = {}
        try:
            code = _compile(tree.body, keys)
        except RecursionError:
            raise ValueError(f'"{text[:40]}..." is nested too deeply') from None
        return cls(text.strip(), tuple(keys), code)

    def value(self, lookup: Lookup) -> Any:
        """Its value, keys looked up by ``lookup`` (KeyError: no such key). Raises `EvaluationError`."""
        try:
            return self._code(lookup)
        except EvaluationError as error:
            raise EvaluationError(f"{self.text}: {error}") from None
        except ZeroDivisionError:
            raise EvaluationError(f"{self.text}: divides by zero") from None
        except KeyError as error:
            raise EvaluationError(f"{self.text}: {error.args[0]} has no value") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise EvaluationError(f"{self.text}: {error}") from None

    def excess(self, lookup: Lookup) -> float:
        """How far a condition is from holding: at most 0 where it holds; a share of the bound for ``a <= b``."""
        if self.value(lookup):
            return 0.0
        tree = ast.parse(self.text, mode="eval").body
        if not isinstance(tree, ast.Compare) or not isinstance(tree.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            return 1.0
        left, right = (_compile(side, {})(lookup) for side in (tree.left, tree.comparators[0]))
        return max(abs(float(left) - float(right)) / max(abs(float(right)), 1e-12), 1e-12)

    def __reduce__(self) -> Any:
        return Expression.parse, (self.text,)

    def __str__(self) -> str:
        return self.text


def quantity(value: Any) -> Any:
    """A value as an expression sees it: texts with a unit and ratios become numbers, all else stays."""
    if isinstance(value, Bandwidth):
        return value.bytes_per_cycle if value.bytes_per_second is None else value.bytes_per_second
    if isinstance(value, Duration):
        return value.cycles if value.seconds is None else value.seconds
    if not isinstance(value, str) or not value[:1].isdigit():
        return value
    for parse in (parse_bytes, parse_frequency_hz, parse_bandwidth, parse_duration, parse_ratio):
        try:
            number = parse(value)
        except ValueError:
            continue
        return quantity(number)
    return value


# ---- from the tree to a function of the lookup ------------------------------------------------------------------


def _compile(node: ast.expr, keys: dict[str, None]) -> _Code:
    handler = _NODES.get(type(node))
    if handler is None:
        raise ValueError(
            f'"{ast.unparse(node)}" is not allowed: an expression has keys, numbers, texts, arithmetic, comparisons, '
            f"and, or, not, in, and {join_allowed(_FUNCTIONS)}"
        )
    return handler(node, keys)


def _constant(node: Any, keys: dict[str, None]) -> _Code:
    del keys
    if not isinstance(node.value, bool | int | float | str):
        raise ValueError(f"{ast.unparse(node)} is not allowed, must be a number, a text, True or False")
    value = quantity(node.value)

    def run(lookup: Lookup) -> Any:
        del lookup
        return value

    return run


def _key(node: Any, keys: dict[str, None]) -> _Code:
    parts: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        parts.append(inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name):
        raise ValueError(f'"{ast.unparse(node)}" is not allowed: a key is a dotted path such as arch.engine.rows')
    return _looked_up(".".join((inner.id, *reversed(parts))), keys)


def _looked_up(key: str, keys: dict[str, None]) -> _Code:
    keys[key] = None
    return lambda lookup: quantity(lookup(key))


def _call(node: Any, keys: dict[str, None]) -> _Code:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise ValueError(f"{name}(...) takes plain arguments only")
    if name == "key":
        if len(node.args) != 1 or not isinstance(getattr(node.args[0], "value", None), str):
            raise ValueError('key(...) takes one text, such as key("mapping.block/1.tile.K")')
        return _looked_up(node.args[0].value, keys)
    if name not in _FUNCTIONS:
        allowed = ("key", *_FUNCTIONS)
        raise ValueError(f"{name}(...) is not allowed, must be {join_allowed(allowed)}{nearest(name, allowed)}")
    function, arguments = _FUNCTIONS[name], [_compile(argument, keys) for argument in node.args]
    check = _number if name != "bits" else _any
    return lambda lookup: function(*(check(argument(lookup)) for argument in arguments))


def _binary(node: Any, keys: dict[str, None]) -> _Code:
    left, right = _compile(node.left, keys), _compile(node.right, keys)
    if isinstance(node.op, ast.Pow):
        return lambda lookup: _power(_number(left(lookup)), _number(right(lookup)))
    function = _ARITHMETIC.get(type(node.op))
    if function is None:
        raise ValueError(f'"{ast.unparse(node)}" is not allowed, must be one of + - * / // % **')
    return lambda lookup: function(_number(left(lookup)), _number(right(lookup)))


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > LARGEST_POWER or abs(base) > 2**64:
        raise EvaluationError(f"a power of {base} to {exponent} is too large")
    return base**exponent


def _unary(node: Any, keys: dict[str, None]) -> _Code:
    operand = _compile(node.operand, keys)
    if isinstance(node.op, ast.Not):
        return lambda lookup: not operand(lookup)
    if isinstance(node.op, ast.USub):
        return lambda lookup: -_number(operand(lookup))
    if isinstance(node.op, ast.UAdd):
        return lambda lookup: _number(operand(lookup))
    raise ValueError(f'"{ast.unparse(node)}" is not allowed')


def _boolean(node: Any, keys: dict[str, None]) -> _Code:
    parts = [_compile(part, keys) for part in node.values]
    if isinstance(node.op, ast.And):
        return lambda lookup: all(part(lookup) for part in parts)
    return lambda lookup: any(part(lookup) for part in parts)


def _compare(node: Any, keys: dict[str, None]) -> _Code:
    operands = [_compile(part, keys) for part in (node.left, *node.comparators)]
    for comparison in node.ops:
        if type(comparison) not in _COMPARISONS:
            raise ValueError(f'"{ast.unparse(node)}" is not allowed, must be one of < <= > >= == != in')
    functions = [_COMPARISONS[type(comparison)] for comparison in node.ops]

    def run(lookup: Lookup) -> bool:
        values = [operand(lookup) for operand in operands]
        return all(f(a, b) for f, a, b in zip(functions, values, values[1:], strict=False))

    return run


def _choice(node: Any, keys: dict[str, None]) -> _Code:
    test, then, other = (_compile(part, keys) for part in (node.test, node.body, node.orelse))
    return lambda lookup: then(lookup) if test(lookup) else other(lookup)


def _sequence(node: Any, keys: dict[str, None]) -> _Code:
    parts = [_compile(part, keys) for part in node.elts]
    return lambda lookup: tuple(part(lookup) for part in parts)


def _number(value: Any) -> Any:
    if isinstance(value, int | float | Fraction):
        return value
    raise EvaluationError(f"{value!r} is not a number")


def _any(value: Any) -> Any:
    return value


_NODES: dict[type[ast.expr], Callable[[Any, dict[str, None]], _Code]] = {
    ast.Constant: _constant, ast.Name: _key, ast.Attribute: _key, ast.Call: _call, ast.BinOp: _binary,
    ast.UnaryOp: _unary, ast.BoolOp: _boolean, ast.Compare: _compare, ast.IfExp: _choice,
    ast.Tuple: _sequence, ast.List: _sequence,
}  # fmt: skip


def keys_of(expressions: Iterable[Expression]) -> list[str]:
    """All keys of several expressions, each once."""
    return list(dict.fromkeys(key for expression in expressions for key in expression.keys))
