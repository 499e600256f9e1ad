"""What an action costs, and where the figure comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Per = Literal["bit", "access", "mac", "op", "cycle", "second"]
Status = Literal["read", "recalled", "derived", "given", "not costed"]


@dataclass(frozen=True)
class CostSource:
    """One cost: ``pj`` picojoules for each ``per``.

    ``node_nm`` is the process it holds for (0 where it does not depend on the chip's process) and
    ``width_bits`` the bits that one action handles (0 where that means nothing). ``status``: ``read`` or
    ``recalled`` figures stand as published, ``derived`` ones were scaled or interpolated as ``note`` tells,
    ``given`` ones come from the architecture's file, and what is ``not costed`` is listed so that nobody
    takes it to be in the sum.
    """

    component: str
    action: str
    pj: float
    per: Per
    node_nm: float
    width_bits: int
    source: str
    status: Status
    note: str = ""

    def pj_for_bits(self, bits: int) -> float:
        """Picojoules to move ``bits``, in accesses that are all full."""
        assert self.per in ("bit", "access"), self
        return self.pj * bits if self.per == "bit" else self.pj * bits / self.width_bits


class NoSourceError(Exception):
    """There is no figure to cost an action by: ``key`` of the architecture's file, and why.

    Never leaves this package: it becomes the `InputError` or `InfeasibleError` that a user sees.
    """

    def __init__(self, key: str, message: str) -> None:
        self.key, self.message = key, message
        super().__init__(f"{key}: {message}")
