create view paired_difference as
select
    candidate.name || '@' || candidate.version as candidate,
    baseline.name || '@' || baseline.version as baseline,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    comparison.name as metric,
    comparison.value,
    comparison.ci_low,
    comparison.ci_high,
    comparison.ci_low > 0 or comparison.ci_high < 0 as is_decided,
    comparison.unit,
    comparison.n,
    comparison.caution
from comparison
join evaluation as candidate_evaluation on candidate_evaluation.id = comparison.candidate_id
join evaluation as baseline_evaluation on baseline_evaluation.id = comparison.baseline_id
join model_version as candidate on candidate.id = candidate_evaluation.model_version_id
join model_version as baseline on baseline.id = baseline_evaluation.model_version_id
join benchmark on benchmark.id = candidate_evaluation.benchmark_id
where candidate_evaluation.state = 'completed' and baseline_evaluation.state = 'completed';

comment on view paired_difference is 'two models on the same structures of a benchmark: candidate minus baseline, with its interval';
comment on column paired_difference.candidate is 'NAME@VERSION';
comment on column paired_difference.baseline is 'NAME@VERSION';
comment on column paired_difference.benchmark is 'NAME@VERSION';
comment on column paired_difference.kind is 'what is measured';
comment on column paired_difference.metric is 'name of the number, defined in docs/metrics.md';
comment on column paired_difference.value is 'candidate minus baseline, over the structures that both have a number for';
comment on column paired_difference.ci_low is 'lower end of the 95 % interval';
comment on column paired_difference.ci_high is 'upper end of the 95 % interval';
comment on column paired_difference.is_decided is 'whether the interval leaves zero out; null without an interval';
comment on column paired_difference.unit is 'unit of value and interval';
comment on column paired_difference.n is 'structures behind the number';
comment on column paired_difference.caution is 'why the difference says nothing: energies on two scales, or one of the two is the common reference that judges both';
