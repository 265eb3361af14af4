"""views for every question, and a role that reads them and nothing else."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# As the files of db/views were then: what a migration does never changes.
_VIEWS: dict[str, str] = {}
_VIEWS["leaderboard"] = """\
create view leaderboard as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    rank() over (
        partition by benchmark.id
        order by headline.value * case when headline.name in ('convergence_rate', 'repulsive_rate') then -1 else 1 end nulls last
    ) as rank,
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
comment on column leaderboard.rank is '1 is the best of this benchmark by value; intervals that overlap decide nothing, a paired difference in the table comparison does';
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
"""
_VIEWS["evaluation_metric"] = """\
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
"""
_VIEWS["paired_difference"] = """\
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
comment on column paired_difference.caution is 'why the difference says nothing: energies on two scales';
"""
_VIEWS["prediction_error"] = """\
create view prediction_error as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    structure.immutable_id,
    structure.source,
    structure.formula_reduced,
    structure.chemical_system,
    structure.elements,
    structure.n_elements,
    structure.n_atoms,
    structure.energy_ev / structure.n_atoms as energy_ev_per_atom,
    prediction.energy_ev / structure.n_atoms as predicted_energy_ev_per_atom,
    prediction.energy_error_ev_per_atom,
    structure.fmax_ev_per_ang,
    prediction.forces_rmse_ev_per_ang,
    prediction.forces_mae_ev_per_ang,
    prediction.stress_rmse_ev_per_ang3,
    prediction.failure,
    evaluation.id as evaluation_id,
    structure.id as structure_id
from evaluation
join prediction on prediction.evaluation_id = evaluation.id
join structure on structure.id = prediction.structure_id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

comment on view prediction_error is 'errors of every model on every structure that it predicted, one row a structure';
comment on column prediction_error.model is 'NAME@VERSION';
comment on column prediction_error.benchmark is 'NAME@VERSION';
comment on column prediction_error.kind is 'what is measured';
comment on column prediction_error.immutable_id is 'id of the structure in its source';
comment on column prediction_error.source is 'mp, agm, oqmd, ...';
comment on column prediction_error.formula_reduced is 'smallest whole-number formula';
comment on column prediction_error.chemical_system is 'elements joined by hyphens';
comment on column prediction_error.elements is 'different elements, alphabetical';
comment on column prediction_error.n_elements is 'number of different elements';
comment on column prediction_error.n_atoms is 'atoms in the cell';
comment on column prediction_error.energy_ev_per_atom is 'reference, eV/atom';
comment on column prediction_error.predicted_energy_ev_per_atom is 'the models, on its own scale, eV/atom';
comment on column prediction_error.energy_error_ev_per_atom is 'predicted minus reference, eV/atom';
comment on column prediction_error.fmax_ev_per_ang is 'length of the largest reference force, eV/Å';
comment on column prediction_error.forces_rmse_ev_per_ang is 'over this structures components, eV/Å';
comment on column prediction_error.forces_mae_ev_per_ang is 'over this structures components, eV/Å';
comment on column prediction_error.stress_rmse_ev_per_ang3 is 'over the six components, eV/Å³; null where the labels stress is not trusted';
comment on column prediction_error.failure is 'why there is no number';
comment on column prediction_error.evaluation_id is 'evaluation.id';
comment on column prediction_error.structure_id is 'structure.id';
"""
_VIEWS["worst_structures"] = """\
create view worst_structures as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    row_number() over (
        partition by evaluation.id
        order by prediction.failure is null, prediction.forces_rmse_ev_per_ang desc nulls last
    ) as rank,
    structure.immutable_id,
    structure.formula_reduced,
    structure.n_atoms,
    prediction.forces_rmse_ev_per_ang,
    prediction.energy_error_ev_per_atom,
    structure.fmax_ev_per_ang,
    prediction.failure,
    structure.id as structure_id
from evaluation
join prediction on prediction.evaluation_id = evaluation.id
join structure on structure.id = prediction.structure_id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

comment on view worst_structures is 'the structures of each evaluation in the order of their force error, the worst first; failures before all';
comment on column worst_structures.model is 'NAME@VERSION';
comment on column worst_structures.benchmark is 'NAME@VERSION';
comment on column worst_structures.rank is '1 is the worst';
comment on column worst_structures.immutable_id is 'id of the structure in its source';
comment on column worst_structures.formula_reduced is 'smallest whole-number formula';
comment on column worst_structures.n_atoms is 'atoms in the cell';
comment on column worst_structures.forces_rmse_ev_per_ang is 'over this structure''s components, eV/Å';
comment on column worst_structures.energy_error_ev_per_atom is 'predicted minus reference, eV/atom';
comment on column worst_structures.fmax_ev_per_ang is 'length of the largest reference force, eV/Å';
comment on column worst_structures.failure is 'why there is no number';
comment on column worst_structures.structure_id is 'structure.id';
"""
_VIEWS["element_error"] = """\
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
"""
_VIEWS["relaxation_summary"] = """\
create view relaxation_summary as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    evaluation.device,
    count(*) as n_structures,
    count(*) filter (where relaxation.converged) as n_converged,
    avg(relaxation.converged::integer)::double precision as convergence_rate,
    count(*) filter (where relaxation.energy_final_ev is null) as n_failed,
    percentile_cont(0.5) within group (order by relaxation.force_calls)
        filter (where relaxation.converged) as force_calls_median,
    sum(relaxation.force_calls) as force_calls,
    sum(relaxation.wall_s) as wall_s,
    avg(relaxation.displacement_rmsd_ang) as displacement_rmsd_mean_ang,
    avg(relaxation.volume_change_fraction) as volume_change_mean_fraction
from evaluation
join relaxation on relaxation.evaluation_id = evaluation.id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed'
group by evaluation.id, model_version.name, model_version.version, benchmark.name, benchmark.version, benchmark.kind;

comment on view relaxation_summary is 'how many structures each model relaxed on each benchmark, in how many force calls and seconds';
comment on column relaxation_summary.model is 'NAME@VERSION';
comment on column relaxation_summary.benchmark is 'NAME@VERSION';
comment on column relaxation_summary.kind is 'rattle-relax, substitution-relax or relax';
comment on column relaxation_summary.device is 'cpu or cuda';
comment on column relaxation_summary.n_structures is 'structures relaxed';
comment on column relaxation_summary.n_converged is 'whose final state is below fmax';
comment on column relaxation_summary.convergence_rate is 'n_converged over n_structures';
comment on column relaxation_summary.n_failed is 'without a final state';
comment on column relaxation_summary.force_calls_median is 'over the converged';
comment on column relaxation_summary.force_calls is 'all together';
comment on column relaxation_summary.wall_s is 'seconds, all together';
comment on column relaxation_summary.displacement_rmsd_mean_ang is 'from the target, Å, over those that have one and a final state';
comment on column relaxation_summary.volume_change_mean_fraction is 'final over target or start volume, minus one';
"""
_VIEWS["relaxation_pair"] = """\
create view relaxation_pair as
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

comment on view relaxation_pair is 'two models on the same start structure of a benchmark, each pair of models in both orders';
comment on column relaxation_pair.benchmark is 'NAME@VERSION';
comment on column relaxation_pair.kind is 'rattle-relax, substitution-relax or relax';
comment on column relaxation_pair.case_index is 'benchmark_case.case_index';
comment on column relaxation_pair.formula_reduced is 'of the start structure';
comment on column relaxation_pair.n_atoms is 'of the start structure';
comment on column relaxation_pair.model is 'NAME@VERSION';
comment on column relaxation_pair.other_model is 'NAME@VERSION';
comment on column relaxation_pair.converged is 'of model';
comment on column relaxation_pair.other_converged is 'of other_model';
comment on column relaxation_pair.force_calls is 'of model';
comment on column relaxation_pair.other_force_calls is 'of other_model';
comment on column relaxation_pair.reference_energy_difference_ev_per_atom is 'energy of models final state minus that of other_models under the common reference, eV/atom: negative where model found the lower one';
comment on column relaxation_pair.displacement_rmsd_ang is 'of model, from the target, Å';
comment on column relaxation_pair.other_displacement_rmsd_ang is 'of other_model, from the target, Å';
comment on column relaxation_pair.volume_change_fraction is 'of model';
comment on column relaxation_pair.other_volume_change_fraction is 'of other_model';
comment on column relaxation_pair.failure is 'of model, why it did not converge';
comment on column relaxation_pair.other_failure is 'of other_model, why it did not converge';
"""
_VIEWS["dataset_composition"] = """\
create view dataset_composition as
select
    dataset.name || '@' || dataset.version as dataset,
    dataset_member.split,
    element.symbol as element,
    count(*) as n_structures,
    count(*)::double precision / sum(count(*)) filter (where element.symbol = 'O') over (
        partition by dataset.id, dataset_member.split
    ) as share_of_oxides,
    avg(structure.n_elements)::double precision as n_elements_mean
from dataset
join dataset_member on dataset_member.dataset_id = dataset.id
join structure on structure.id = dataset_member.structure_id
cross join lateral unnest(structure.elements) as element (symbol)
group by dataset.id, dataset.name, dataset.version, dataset_member.split, element.symbol;

comment on view dataset_composition is 'how often each element occurs in each split of a dataset';
comment on column dataset_composition.dataset is 'NAME@VERSION';
comment on column dataset_composition.split is 'train, validation, test, off_equilibrium or generated';
comment on column dataset_composition.element is 'symbol';
comment on column dataset_composition.n_structures is 'structures of the split that hold it';
comment on column dataset_composition.share_of_oxides is 'of the structures of the split that hold oxygen; null where none does';
comment on column dataset_composition.n_elements_mean is 'mean number of elements of the structures that hold it';
"""
_VIEWS["curation_summary"] = """\
create view curation_summary as
select
    dataset.name || '@' || dataset.version as dataset,
    dataset.source_uri,
    dataset.source_revision,
    dataset.n_scanned,
    dataset.n_kept,
    outcome.rule,
    outcome.n_rows,
    outcome.n_rows::double precision / nullif(dataset.n_scanned, 0) as share,
    outcome.example_ids,
    dataset.created_at
from dataset
cross join lateral (
    select null::text as rule, dataset.n_kept as n_rows, null::text[] as example_ids
    union all
    select dataset_rejection.rule, dataset_rejection.n_rejected, dataset_rejection.example_ids
    from dataset_rejection
    where dataset_rejection.dataset_id = dataset.id
) as outcome;

comment on view curation_summary is 'what each curation kept and left out, one row a rule; the rule null stands for the rows that were kept';
comment on column curation_summary.dataset is 'NAME@VERSION';
comment on column curation_summary.source_uri is 'where the rows were read';
comment on column curation_summary.source_revision is 'commit of a Hub dataset, or sha256 of local files';
comment on column curation_summary.n_scanned is 'rows read';
comment on column curation_summary.n_kept is 'rows kept';
comment on column curation_summary.rule is 'rule that left the rows out (docs/curation.md); null for the rows that were kept';
comment on column curation_summary.n_rows is 'rows that it left out, or that were kept';
comment on column curation_summary.share is 'of the rows read';
comment on column curation_summary.example_ids is 'a few of their ids; null for the rows that were kept';
comment on column curation_summary.created_at is 'when the dataset was stored';
"""
_VIEWS["run_history"] = """\
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
"""
_VIEWS["pending_evaluation"] = """\
create view pending_evaluation as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    evaluation.state,
    evaluation.failure,
    model_version.id as model_version_id,
    benchmark.id as benchmark_id
from model_version
cross join (
    select distinct on (benchmark.name) benchmark.id, benchmark.name, benchmark.version, benchmark.kind
    from benchmark
    where benchmark.kind <> 'relax'  -- structures of somebody's own: what one model did with them
    order by benchmark.name, benchmark.version desc
) as benchmark
left join evaluation
    on evaluation.model_version_id = model_version.id
    and evaluation.benchmark_id = benchmark.id
    and evaluation.replaces_id is null
where model_version.state <> 'archived' and evaluation.state is distinct from 'completed';

comment on view pending_evaluation is 'models that are not archived and have no completed evaluation on the newest version of a benchmark that others of them have';
comment on column pending_evaluation.model is 'NAME@VERSION';
comment on column pending_evaluation.benchmark is 'NAME@VERSION, the newest of its name';
comment on column pending_evaluation.kind is 'what is measured';
comment on column pending_evaluation.state is 'running or failed; null where it was never tried';
comment on column pending_evaluation.failure is 'why the last try is not complete';
comment on column pending_evaluation.model_version_id is 'model_version.id';
comment on column pending_evaluation.benchmark_id is 'benchmark.id';
"""

_OLD_LEADERBOARD = """\
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
"""

# Columns of dataset_structure that had no comment.
_COLUMNS = (
    ("structure_id", "structure.id"),
    ("immutable_id", "id in its source"),
    ("source", "mp, agm, oqmd, ...; generated for cells that were made here"),
    ("functional", "how the labels were made"),
    ("formula_reduced", "smallest whole-number formula"),
    ("chemical_system", "elements joined by hyphens"),
    ("elements", "different elements, alphabetical"),
    ("n_elements", "number of different elements"),
    ("n_atoms", "atoms in the cell"),
    ("volume_per_atom_ang3", "Å³"),
    ("fmax_ev_per_ang", "length of the largest reference force, eV/Å"),
    ("n_cations", "different cations"),
    ("entropy_per_formula_r", "sum over cation sublattices, per formula unit of the parent crystal, in R"),
    ("equimolarity_deviation", "largest departure of a cation''s share from 1/n"),
    ("radius_mismatch_percent", "spread of Shannon''s radii, delta, %"),
    ("electronegativity_spread", "standard deviation, Pauling''s scale"),
    ("space_group_number", "of the cell as it is, symprec 0.01 Å"),
    ("space_group_symbol", "Hermann-Mauguin symbol"),
    ("parent_space_group_number", "of the cell with all cations made alike"),
)
_EARLIER_VIEWS = ("dataset_structure", "model_lineage", "sweep_ranking", "training_curve")


def upgrade() -> None:
    op.execute("drop view leaderboard")
    for statement in _VIEWS.values():
        op.execute(statement)
    for column, comment in _COLUMNS:
        op.execute(f"comment on column dataset_structure.{column} is '{comment}'")
    # A role belongs to the whole server: another database of it may have made it.
    op.execute(
        """
        do $$
        begin
            if not exists (select from pg_roles where rolname = 'heo_reader') then
                create role heo_reader nologin;
            end if;
        exception
            when duplicate_object or unique_violation then
                null;  -- made at this moment by the migration of another database
            when insufficient_privilege then
                raise notice 'heo_reader is not made: this role may not make roles';
        end
        $$
        """
    )
    _for_reader(
        f"grant usage on schema public to heo_reader; grant select on {', '.join([*_VIEWS, *_EARLIER_VIEWS])} to heo_reader"
    )


def _for_reader(statements: str) -> None:
    """Run statements where there is the role."""
    op.execute(
        f"do $$ begin if exists (select from pg_roles where rolname = 'heo_reader') then {statements}; end if; end $$"
    )


def downgrade() -> None:
    # The role stays: other databases of the server may grant it rights.
    _for_reader(
        f"revoke select on {', '.join([*_VIEWS, *_EARLIER_VIEWS])} from heo_reader; "
        "revoke usage on schema public from heo_reader"
    )
    for name in reversed(_VIEWS):
        op.execute(f"drop view {name}")
    op.execute(_OLD_LEADERBOARD)
    for column, _ in _COLUMNS:
        op.execute(f"comment on column dataset_structure.{column} is null")
