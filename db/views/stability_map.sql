create view stability_map as
select
    stability_composition.composition,
    cardinality(stability_composition.cations) as n_cations,
    stability_composition.cations,
    stability_study.params ->> 'prototype' as prototype,
    model_version.name || '@' || model_version.version as model,
    stability_composition.reference_set,
    stability_composition.mixing_enthalpy_ev_per_atom,
    stability_composition.mixing_enthalpy_sem_ev_per_atom,
    stability_composition.mixing_enthalpy_ev_per_cation,
    stability_composition.bond_spread_ang,
    stability_composition.bond_spread_sem_ang,
    stability_composition.radius_mismatch_percent,
    stability_composition.entropy_r,
    stability_composition.mixing_temperature_k,
    stability_composition.decomposition_energy_ev_per_atom,
    stability_composition.decomposition,
    stability_composition.n_cells,
    stability_composition.n_converged,
    stability_composition.failure,
    stability_composition.study_id
from stability_composition
join stability_study on stability_study.id = stability_composition.study_id
join model_version on model_version.id = stability_study.model_version_id;

comment on view stability_map is 'mixtures of cations in equal shares against a named set of oxides: enthalpy of mixing and spread of bonds, means over converged cells';
comment on column stability_map.composition is 'cations by atomic number, for example MgCoNiCuZn';
comment on column stability_map.n_cations is 'cations in the mixture';
comment on column stability_map.cations is 'symbols';
comment on column stability_map.prototype is 'parent crystal';
comment on column stability_map.model is 'NAME@VERSION that relaxed the cells';
comment on column stability_map.reference_set is 'oxides that the enthalpy counts from: ground-states, end-members or almishal-2025; values of two sets cannot be compared';
comment on column stability_map.mixing_enthalpy_ev_per_atom is 'energy above these oxides, eV/atom';
comment on column stability_map.mixing_enthalpy_sem_ev_per_atom is 'its standard error over cells, eV/atom; null for fewer than two';
comment on column stability_map.mixing_enthalpy_ev_per_cation is 'the same per mixed site, eV';
comment on column stability_map.bond_spread_ang is 'standard deviation of all nearest cation-oxygen bonds, Å';
comment on column stability_map.bond_spread_sem_ang is 'its standard error over cells, Å';
comment on column stability_map.radius_mismatch_percent is 'spread of Shannon''s radii, delta, %';
comment on column stability_map.entropy_r is 'configurational entropy per mixed site, in R';
comment on column stability_map.mixing_temperature_k is 'enthalpy over entropy, K: against these oxides alone, other solid solutions are not counted';
comment on column stability_map.decomposition_energy_ev_per_atom is 'energy above the lowest oxides of single cations that the model itself relaxed, eV/atom';
comment on column stability_map.decomposition is 'these oxides';
comment on column stability_map.n_cells is 'cells relaxed, failed ones included';
comment on column stability_map.n_converged is 'cells that the means are over';
comment on column stability_map.failure is 'why a number is missing, or cells are';
comment on column stability_map.study_id is 'stability_study.id';
