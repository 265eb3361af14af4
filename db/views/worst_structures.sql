create view worst_structures as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    prediction.rank,
    structure.immutable_id,
    structure.formula_reduced,
    structure.n_atoms,
    prediction.forces_rmse_ev_per_ang,
    prediction.energy_error_ev_per_atom,
    structure.fmax_ev_per_ang,
    prediction.failure,
    structure.id as structure_id
from evaluation
-- For one evaluation at a time: with "rank <= 10" this ends after ten entries of ix_prediction_worst.
cross join lateral (
    select
        row_number() over (
            order by one.failure is null, one.forces_rmse_ev_per_ang desc nulls last
        ) as rank,
        one.structure_id,
        one.forces_rmse_ev_per_ang,
        one.energy_error_ev_per_atom,
        one.failure
    from prediction as one
    where one.evaluation_id = evaluation.id
) as prediction
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
