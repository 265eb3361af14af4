create view evaluation_metric as
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
    evaluation.finished_at,
    evaluation.id as evaluation_id
from evaluation
join metric on metric.evaluation_id = evaluation.id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

comment on view evaluation_metric is 'summary numbers of every completed evaluation, one row a number';
comment on column evaluation_metric.model is 'NAME@VERSION';
comment on column evaluation_metric.benchmark is 'NAME@VERSION';
comment on column evaluation_metric.kind is 'what is measured; docs/metrics.md has a part for each kind';
comment on column evaluation_metric.metric is 'name of the number, defined in docs/metrics.md';
comment on column evaluation_metric.value is 'the number; null where there is nothing to average';
comment on column evaluation_metric.ci_low is 'lower end of the 95 % interval';
comment on column evaluation_metric.ci_high is 'upper end of the 95 % interval';
comment on column evaluation_metric.unit is 'unit of value and interval';
comment on column evaluation_metric.n is 'structures behind the number';
comment on column evaluation_metric.finished_at is 'when the evaluation was completed';
comment on column evaluation_metric.evaluation_id is 'evaluation.id';
