"""ranks over the same structures: a number that is known for fewer of them has no rank in the leaderboard."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_BETTER_FIRST = (
    "order by headline.value * case when headline.name in ('convergence_rate', 'repulsive_rate') then -1 else 1 end "
    "nulls last"
)
_RANK = (
    "case when headline.n = max(headline.n) over (partition by benchmark.id) "
    f"then rank() over (partition by benchmark.id, headline.n {_BETTER_FIRST}) end"
)
_OLD_RANK = f"rank() over (partition by benchmark.id {_BETTER_FIRST})"

_COMMENT = (
    "1 is the best of this benchmark by value; null where the number is of fewer structures than another model''s; "
    "intervals that overlap decide nothing, a paired difference in the table comparison does"
)
_OLD_COMMENT = (
    "1 is the best of this benchmark by value; intervals that overlap decide nothing, a paired difference in the table "
    "comparison does"
)

_CAUTION = (
    "why the difference says nothing: energies on two scales, or one of the two is the common reference that judges both"
)
_OLD_CAUTION = "why the difference says nothing: energies on two scales"

# As db/views/leaderboard.sql was then: what a migration does never changes.
_VIEW = """\
create or replace view leaderboard as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    {rank} as rank,
    headline.name as metric,
    headline.value,
    headline.ci_low,
    headline.ci_high,
    headline.unit,
    headline.n,
    beside.energy_rmse_ev_per_atom,
    beside.energy_skill,
    beside.forces_skill,
    beside.forces_softening_slope,
    beside.convergence_rate,
    beside.force_calls_median,
    beside.failed_count,
    evaluation.cautions,
    evaluation.device,
    evaluation.wall_s,
    evaluation.finished_at,
    evaluation.id as evaluation_id
from evaluation
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
left join metric as headline
    on headline.evaluation_id = evaluation.id
    and headline.name = case benchmark.kind
        when 'energy-forces' then 'forces_mae_ev_per_ang'
        when 'off-equilibrium' then 'forces_rmse_ev_per_ang'
        when 'forgetting-holdout' then 'forces_rmse_ev_per_ang'
        when 'equation-of-state' then 'equilibrium_volume_mae_fraction'
        when 'rattle-relax' then 'displacement_rmsd_mean_ang'
        when 'substitution-relax' then 'reference_energy_mean_ev_per_atom'
        when 'physics' then 'repulsive_rate'
        else 'convergence_rate'
    end
left join lateral (
    select
        max(metric.value) filter (where metric.name = 'energy_rmse_ev_per_atom') as energy_rmse_ev_per_atom,
        max(metric.value) filter (where metric.name = 'energy_skill') as energy_skill,
        max(metric.value) filter (where metric.name = 'forces_skill') as forces_skill,
        max(metric.value) filter (where metric.name = 'forces_softening_slope') as forces_softening_slope,
        max(metric.value) filter (where metric.name = 'convergence_rate') as convergence_rate,
        max(metric.value) filter (where metric.name = 'force_calls_median') as force_calls_median,
        max(metric.value) filter (where metric.name = 'failed_count') as failed_count
    from metric
    where metric.evaluation_id = evaluation.id
) as beside on true
where evaluation.state = 'completed'
"""


def upgrade() -> None:
    op.execute(_VIEW.format(rank=_RANK))
    op.execute(f"comment on column leaderboard.rank is '{_COMMENT}'")
    for table in ("comparison", "paired_difference"):
        op.execute(f"comment on column {table}.caution is '{_CAUTION}'")


def downgrade() -> None:
    op.execute(_VIEW.format(rank=_OLD_RANK))
    op.execute(f"comment on column leaderboard.rank is '{_OLD_COMMENT}'")
    for table in ("comparison", "paired_difference"):
        op.execute(f"comment on column {table}.caution is '{_OLD_CAUTION}'")
