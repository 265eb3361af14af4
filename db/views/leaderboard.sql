create view leaderboard as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    metric.name as metric,
    metric.value,
    metric.ci_low,
    metric.ci_high,
    metric.unit,
    metric.n,
    evaluation.wall_s,
    evaluation.finished_at
from evaluation
join metric on metric.evaluation_id = evaluation.id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

comment on view leaderboard is 'summary numbers of every completed evaluation, one row a number';
comment on column leaderboard.model is 'NAME@VERSION';
comment on column leaderboard.benchmark is 'NAME@VERSION';
comment on column leaderboard.kind is 'what is measured; docs/metrics.md has a part for each kind';
comment on column leaderboard.metric is 'name of the number, defined in docs/metrics.md';
comment on column leaderboard.value is 'the number; null where there is nothing to average';
comment on column leaderboard.ci_low is 'lower end of the 95 % interval';
comment on column leaderboard.ci_high is 'upper end of the 95 % interval';
comment on column leaderboard.unit is 'unit of value and interval';
comment on column leaderboard.n is 'structures behind the number';
comment on column leaderboard.wall_s is 'seconds that the evaluation took';
comment on column leaderboard.finished_at is 'when the evaluation was completed';
