"""How the energy of logic changes with the process and the supply voltage.

Stillmaker and Baas (Integration 58, 2017, pp. 74-81) fit the energy of a switching gate by a quadratic in
the supply voltage, one for each node from 180 to 7 nm; the ratio of two of them scales a figure from one
node to another. Nodes in between are interpolated log-log. The product V^2 x node, the textbook's
alternative, gives 0.62 where this gives 0.52 (45 to 28 nm, both at 0.9 V).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from accelsim.energy.cost import NoSourceError
from accelsim.energy.figures import Point, interpolate, neighbours, read_table

CITATION = "Stillmaker & Baas 2017"
VOLTAGE_SPAN = (0.75, 1.25)
"""Share of the nominal voltage within which the fits are used: below it some of them turn upwards again."""


@dataclass(frozen=True)
class Fit:
    """Relative energy of a gate at one node, over the supply voltage."""

    v_squared: float
    v_linear: float
    constant: float
    nominal_v: float

    def energy(self, voltage: float) -> float:
        """Relative energy at ``voltage`` volts (the unit is the paper's, and drops out of every ratio)."""
        return self.v_squared * voltage**2 + self.v_linear * voltage + self.constant


@cache
def fits() -> Mapping[float, Fit]:
    """Node in nm -> its fit."""
    return {
        float(row["node_nm"]): Fit(
            *(float(row[k]) for k in ("v_squared", "v_linear", "constant", "nominal_v"))
        )
        for row in read_table("logic_scaling")
    }


@dataclass(frozen=True)
class LogicScaling:
    """Scales energies of logic to a chip's node; ``voltage`` None is the node's nominal one."""

    node_nm: float
    voltage: float | None = None

    def __post_init__(self) -> None:
        tabulated = fits()
        if not min(tabulated) <= self.node_nm <= max(tabulated):
            raise NoSourceError(
                "technology.node_nm",
                f"is {self.node_nm:g}, known are {min(tabulated):g} to {max(tabulated):g} nm ({CITATION})",
            )
        if self.voltage is not None:
            self._check_voltage(self.voltage)

    def _check_voltage(self, voltage: float) -> None:
        around = [fits()[node].nominal_v for node in neighbours(list(fits()), self.node_nm)]
        lowest, highest = max(around) * VOLTAGE_SPAN[0], min(around) * VOLTAGE_SPAN[1]
        if not lowest <= voltage <= highest:
            raise NoSourceError(
                "technology.voltage",
                f"is {voltage:g} V, must be {lowest:.2f} to {highest:.2f} V at {self.node_nm:g} nm",
            )

    def relative_energy(self) -> float:
        """Energy of a gate here, in the paper's unit."""
        around = sorted(neighbours(list(fits()), self.node_nm))
        points = [Point(n, fits()[n].energy(self.voltage or fits()[n].nominal_v)) for n in around]
        return interpolate(points, self.node_nm)

    def factor(self, from_nm: float) -> float:
        """What a figure taken at ``from_nm`` (at its nominal voltage) is multiplied by."""
        return (
            1.0 if self.is_at(from_nm) else self.relative_energy() / LogicScaling(from_nm).relative_energy()
        )

    def is_at(self, node_nm: float) -> bool:
        """Whether a figure taken at ``node_nm`` holds here as it stands."""
        return self.voltage is None and node_nm == self.node_nm

    def note(self, from_nm: float) -> str:
        """The words that go with `factor`; empty where nothing is scaled."""
        if self.is_at(from_nm):
            return ""
        volts = "nominal V" if self.voltage is None else f"{self.voltage:g} V"
        between = neighbours(list(fits()), self.node_nm)
        how = f", log-log between {between[0]:g} and {between[1]:g} nm" if len(between) == 2 else ""
        nodes = f"{from_nm:g} -> {self.node_nm:g} nm"
        return f"x {self.factor(from_nm):.3g}: logic {nodes} at {volts}, {CITATION}{how}"
