create view relaxation_pair as
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
comment on column relaxation_pair.displacement_rmsd_ang is 'of model, from the target (or start), Å';
comment on column relaxation_pair.other_displacement_rmsd_ang is 'of other_model, from the target (or start), Å';
comment on column relaxation_pair.volume_change_fraction is 'of model';
comment on column relaxation_pair.other_volume_change_fraction is 'of other_model';
comment on column relaxation_pair.failure is 'of model, why it did not converge';
comment on column relaxation_pair.other_failure is 'of other_model, why it did not converge';
