"""Every figure of the report: pure functions from data frames to plotly figures.

Frames have the columns of `heo_core.reporting.data.COLUMNS`; energies and forces are drawn in meV. Figures carry no
title: the page gives each a caption. Text from the data goes through `plain` or `formula_markup`, because plotly
reads tags in labels. A frame without a drawable row gives a figure without traces.
"""

from heo_core.reporting.figures.composition_map import plot_map, recolour_map
from heo_core.reporting.figures.dataset import (
    plot_cell_sizes,
    plot_composition,
    plot_element_counts,
    plot_entropy,
    plot_most_frequent,
    plot_reference_forces,
    plot_rejections,
)
from heo_core.reporting.figures.energy_forces import (
    MAX_SCATTER_STRUCTURES,
    compute_energy_slopes,
    count_outside_force_parity,
    plot_energy_parity,
    plot_energy_residuals,
    plot_error_distribution,
    plot_force_parity,
)
from heo_core.reporting.figures.equation_of_state import plot_volume_curve, rank_materials
from heo_core.reporting.figures.groups import plot_element_errors, plot_group_errors
from heo_core.reporting.figures.periodic_table import plot_periodic_table
from heo_core.reporting.figures.physics import list_physics_curves, plot_physics_curve
from heo_core.reporting.figures.relaxation import (
    MAX_LINES,
    RATES,
    choose_courses,
    compute_energy_differences,
    plot_convergence,
    plot_displacement,
    plot_energy_descent,
    plot_fmax_descent,
    plot_paired_energy_differences,
    plot_rates,
    plot_rmsd_distribution,
    plot_volume_change,
)
from heo_core.reporting.figures.training import plot_strategies, plot_training_curves, plot_trials

__all__ = [
    "MAX_LINES",
    "MAX_SCATTER_STRUCTURES",
    "RATES",
    "choose_courses",
    "compute_energy_differences",
    "compute_energy_slopes",
    "count_outside_force_parity",
    "list_physics_curves",
    "plot_cell_sizes",
    "plot_composition",
    "plot_convergence",
    "plot_displacement",
    "plot_element_counts",
    "plot_element_errors",
    "plot_energy_descent",
    "plot_energy_parity",
    "plot_energy_residuals",
    "plot_entropy",
    "plot_error_distribution",
    "plot_fmax_descent",
    "plot_force_parity",
    "plot_group_errors",
    "plot_map",
    "plot_most_frequent",
    "plot_paired_energy_differences",
    "plot_periodic_table",
    "plot_physics_curve",
    "plot_rates",
    "plot_reference_forces",
    "plot_rejections",
    "plot_rmsd_distribution",
    "plot_strategies",
    "plot_training_curves",
    "plot_trials",
    "plot_volume_change",
    "plot_volume_curve",
    "rank_materials",
    "recolour_map",
]
