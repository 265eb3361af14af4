create view element_error as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    group_metric.group_name as element,
    group_metric.name as metric,
    group_metric.value,
    group_metric.unit,
    group_metric.n
from evaluation
join group_metric on group_metric.evaluation_id = evaluation.id and group_metric.grouping = 'element'
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

comment on view element_error is 'errors of every model by element: forces on its atoms, energies of the structures that hold it';
comment on column element_error.model is 'NAME@VERSION';
comment on column element_error.benchmark is 'NAME@VERSION';
comment on column element_error.kind is 'what is measured';
comment on column element_error.element is 'symbol';
comment on column element_error.metric is 'name of the number, defined in docs/metrics.md';
comment on column element_error.value is 'the number; null where there is nothing to average';
comment on column element_error.unit is 'unit of value';
comment on column element_error.n is 'structures behind the number';
