create view leaderboard as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    case when headline.n = max(headline.n) over (partition by benchmark.id) then rank() over (
        partition by benchmark.id, headline.n
        order by headline.value * case when headline.name in ('convergence_rate', 'repulsive_rate') then -1 else 1 end nulls last
    ) end as rank,
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
where evaluation.state = 'completed';

comment on view leaderboard is 'every model on every benchmark, one row an evaluation: the number that decides, with its rank, and what must be read beside it';
comment on column leaderboard.model is 'NAME@VERSION';
comment on column leaderboard.benchmark is 'NAME@VERSION';
comment on column leaderboard.kind is 'what is measured; docs/metrics.md has a part for each kind';
comment on column leaderboard.rank is '1 is the best of this benchmark by value; null where the number is of fewer structures than another model''s; intervals that overlap decide nothing, a paired difference in the table comparison does';
comment on column leaderboard.metric is 'name of the number that decides for this kind, defined in docs/metrics.md';
comment on column leaderboard.value is 'the number; lower is better, but for convergence_rate and repulsive_rate';
comment on column leaderboard.ci_low is 'lower end of the 95 % interval';
comment on column leaderboard.ci_high is 'upper end of the 95 % interval';
comment on column leaderboard.unit is 'unit of value and interval';
comment on column leaderboard.n is 'structures behind the number';
comment on column leaderboard.energy_rmse_ev_per_atom is 'of the predicted energies, eV/atom; null where none are scored';
comment on column leaderboard.energy_skill is '1 minus RMSE over that of the composition baseline; zero or less: the model knows no more than the composition';
comment on column leaderboard.forces_skill is '1 minus MAE over that of predicting no force; below zero: worse than nothing';
comment on column leaderboard.forces_softening_slope is 'below 1 the model is too soft; read it before any force error';
comment on column leaderboard.convergence_rate is 'share of all cases that converged; null where none are relaxed';
comment on column leaderboard.force_calls_median is 'over the converged cases';
comment on column leaderboard.failed_count is 'structures without a number';
comment on column leaderboard.cautions is 'what must be known before the numbers are read';
comment on column leaderboard.device is 'cpu or cuda';
comment on column leaderboard.wall_s is 'seconds that the evaluation took';
comment on column leaderboard.finished_at is 'when the evaluation was completed';
comment on column leaderboard.evaluation_id is 'evaluation.id';
