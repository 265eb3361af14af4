"""relaxation_pair looks up its start structures pair by pair."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# As the file of db/views was then: what a migration does never changes.
_VIEW = """\
create or replace view relaxation_pair as
select
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    one.case_index,
    start.formula_reduced,
    start.n_atoms,
    model.name || '@' || model.version as model,
    other_model.name || '@' || other_model.version as other_model,
    one.converged,
    other.converged as other_converged,
    one.force_calls,
    other.force_calls as other_force_calls,
    (one.reference_energy_ev - other.reference_energy_ev) / start.n_atoms as reference_energy_difference_ev_per_atom,
    one.displacement_rmsd_ang,
    other.displacement_rmsd_ang as other_displacement_rmsd_ang,
    one.volume_change_fraction,
    other.volume_change_fraction as other_volume_change_fraction,
    one.failure,
    other.failure as other_failure
from evaluation
join evaluation as other_evaluation
    on other_evaluation.benchmark_id = evaluation.benchmark_id
    and other_evaluation.model_version_id <> evaluation.model_version_id
    and other_evaluation.state = 'completed'
join relaxation as one on one.evaluation_id = evaluation.id
join relaxation as other on other.evaluation_id = other_evaluation.id and other.case_index = one.case_index
-- "offset 0" keeps the planner from looking at the cases of all benchmarks.
cross join lateral (
    select structure.formula_reduced, structure.n_atoms
    from benchmark_case
    join structure on structure.id = benchmark_case.structure_id
    where benchmark_case.benchmark_id = evaluation.benchmark_id and benchmark_case.case_index = one.case_index
    offset 0
) as start
join benchmark on benchmark.id = evaluation.benchmark_id
join model_version as model on model.id = evaluation.model_version_id
join model_version as other_model on other_model.id = other_evaluation.model_version_id
where evaluation.state = 'completed';
"""
_OLD_VIEW = """\
create or replace view relaxation_pair as
select
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    one.case_index,
    structure.formula_reduced,
    structure.n_atoms,
    model.name || '@' || model.version as model,
    other_model.name || '@' || other_model.version as other_model,
    one.converged,
    other.converged as other_converged,
    one.force_calls,
    other.force_calls as other_force_calls,
    (one.reference_energy_ev - other.reference_energy_ev) / structure.n_atoms as reference_energy_difference_ev_per_atom,
    one.displacement_rmsd_ang,
    other.displacement_rmsd_ang as other_displacement_rmsd_ang,
    one.volume_change_fraction,
    other.volume_change_fraction as other_volume_change_fraction,
    one.failure,
    other.failure as other_failure
from evaluation
join evaluation as other_evaluation
    on other_evaluation.benchmark_id = evaluation.benchmark_id
    and other_evaluation.model_version_id <> evaluation.model_version_id
    and other_evaluation.state = 'completed'
join relaxation as one on one.evaluation_id = evaluation.id
join relaxation as other on other.evaluation_id = other_evaluation.id and other.case_index = one.case_index
join benchmark_case on benchmark_case.benchmark_id = evaluation.benchmark_id and benchmark_case.case_index = one.case_index
join structure on structure.id = benchmark_case.structure_id
join benchmark on benchmark.id = evaluation.benchmark_id
join model_version as model on model.id = evaluation.model_version_id
join model_version as other_model on other_model.id = other_evaluation.model_version_id
where evaluation.state = 'completed';
"""


def upgrade() -> None:
    op.execute(_VIEW)


def downgrade() -> None:
    op.execute(_OLD_VIEW)
