"""Counts -> picojoules, from tables with their sources.

``EnergyModel.of(architecture)`` resolves every cost once; ``layer_energy`` multiplies a run's counts by them;
``sources`` says where each figure comes from and what was done to it on the way.
"""

from accelsim.energy.cost import CostSource
from accelsim.energy.model import EnergyModel

__all__ = ["CostSource", "EnergyModel"]
