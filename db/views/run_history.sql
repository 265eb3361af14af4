create view run_history as
select
    'training' as what,
    training_run.name as subject,
    training_run.state,
    training_run.failure,
    training_run.device,
    training_run.started_at,
    training_run.finished_at,
    training_run.wall_s,
    training_run.flow_run_id,
    training_run.id as row_id
from training_run
union all
select
    'evaluation',
    model_version.name || '@' || model_version.version || ' on ' || benchmark.name || '@' || benchmark.version,
    evaluation.state,
    evaluation.failure,
    evaluation.device,
    evaluation.started_at,
    evaluation.finished_at,
    evaluation.wall_s,
    evaluation.flow_run_id,
    evaluation.id
from evaluation
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
union all
select
    'sweep',
    sweep.name || '@' || sweep.version,
    sweep.state,
    sweep.failure,
    null,
    sweep.created_at,
    sweep.finished_at,
    extract(epoch from sweep.finished_at - sweep.created_at)::double precision,
    sweep.flow_run_id,
    sweep.id
from sweep
union all
select 'dataset', dataset.name || '@' || dataset.version, 'completed', null, null, null, dataset.created_at, null, null, dataset.id
from dataset
union all
select 'report', report.name, 'completed', null, null, null, report.created_at, null, null, report.id
from report;

comment on view run_history is 'what ran, when, where, how long and why it failed: trainings, evaluations, sweeps, and what else left a row';
comment on column run_history.what is 'training, evaluation, sweep, dataset or report';
comment on column run_history.subject is 'what it was about';
comment on column run_history.state is 'running, completed or failed';
comment on column run_history.failure is 'why it failed, or is not complete';
comment on column run_history.device is 'cpu or cuda, and its name';
comment on column run_history.started_at is 'start of the last try; null for a dataset and a report';
comment on column run_history.finished_at is 'end of the last try; null while it runs';
comment on column run_history.wall_s is 'seconds of the last try';
comment on column run_history.flow_run_id is 'Prefect flow run that did it last';
comment on column run_history.row_id is 'id in the table training_run, evaluation, sweep, dataset or report';
