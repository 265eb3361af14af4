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
