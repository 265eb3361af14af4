"""The sections of the page, from the report's data; a part without data says what is missing and how to make it."""

from heo_core.reporting.blocks import Section
from heo_core.reporting.data import ReportData
from heo_core.reporting.palette import assign_styles
from heo_core.reporting.sections.answers import build_answers
from heo_core.reporting.sections.dataset import build_dataset
from heo_core.reporting.sections.energy_forces import build_energy_forces
from heo_core.reporting.sections.leaderboard import build_leaderboard
from heo_core.reporting.sections.methods import build_methods
from heo_core.reporting.sections.physics import build_physics
from heo_core.reporting.sections.relaxation import build_relaxation
from heo_core.reporting.sections.softening import build_softening
from heo_core.reporting.sections.training import build_training

__all__ = ["build_answers", "build_sections"]


def build_sections(data: ReportData) -> list[Section]:
    """Every section after the warnings, in the order of the page."""
    styles = assign_styles(data.models)
    return [
        build_leaderboard(data, styles),
        build_softening(data, styles),
        build_dataset(data),
        build_training(data, styles),
        build_energy_forces(data, styles),
        build_relaxation(data, styles),
        build_physics(data, styles),
        build_methods(data),
    ]
