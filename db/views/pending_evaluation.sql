create view pending_evaluation as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    evaluation.state,
    evaluation.failure,
    model_version.id as model_version_id,
    benchmark.id as benchmark_id,
    benchmark.auto and (
        model_version.training_run_id is not null
        or model_version.reference like 'file:%'
        or model_version.state = 'production'
    ) as auto
from model_version
cross join (
    select distinct on (benchmark.name)
        benchmark.id, benchmark.name, benchmark.version, benchmark.kind, benchmark.auto
    from benchmark
    where benchmark.kind <> 'relax'  -- structures of somebody's own: what one model did with them
    order by benchmark.name, benchmark.version desc
) as benchmark
left join evaluation
    on evaluation.model_version_id = model_version.id
    and evaluation.benchmark_id = benchmark.id
    and evaluation.replaces_id is null
where model_version.state <> 'archived' and evaluation.state is distinct from 'completed';

comment on view pending_evaluation is 'models that are not archived and have no completed evaluation on the newest version of a benchmark';
comment on column pending_evaluation.model is 'NAME@VERSION';
comment on column pending_evaluation.benchmark is 'NAME@VERSION, the newest of its name';
comment on column pending_evaluation.kind is 'what is measured';
comment on column pending_evaluation.state is 'running or failed; null where it was never tried';
comment on column pending_evaluation.failure is 'why the last try is not complete';
comment on column pending_evaluation.model_version_id is 'model_version.id';
comment on column pending_evaluation.benchmark_id is 'benchmark.id';
comment on column pending_evaluation.auto is 'whether it runs by itself: the benchmark is marked auto, and the model was finetuned or added here, or is in production';
