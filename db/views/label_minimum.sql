create view label_minimum as
select
    label_set.name as label_set,
    benchmark.name || '@' || benchmark.version as benchmark,
    relaxed_label.case_index,
    structure.formula_reduced,
    structure.n_atoms,
    model_version.name || '@' || model_version.version as model,
    structure.energy_ev / structure.n_atoms as energy_ev_per_atom,
    (structure.energy_ev - min(structure.energy_ev) over of_case) / structure.n_atoms as above_lowest_ev_per_atom,
    count(*) over of_case as n_models,
    structure.fmax_ev_per_ang
from relaxed_label
join structure_label
    on structure_label.label_set_id = relaxed_label.label_set_id
    and structure_label.structure_id = relaxed_label.structure_id
join structure on structure.id = structure_label.labelled_id
join label_set on label_set.id = relaxed_label.label_set_id
join benchmark on benchmark.id = relaxed_label.benchmark_id
join model_version on model_version.id = relaxed_label.model_version_id
where relaxed_label.converged
window of_case as (partition by label_set.id, benchmark.id, relaxed_label.case_index);

comment on view label_minimum is 'relaxed cells of several models from the same start, and their energies on the scale of one label set: which model found the lower minimum; without relaxations and calculations that did not converge';
comment on column label_minimum.label_set is 'name of the label set: one scale of energies';
comment on column label_minimum.benchmark is 'NAME@VERSION of the benchmark that the models relaxed';
comment on column label_minimum.case_index is 'benchmark_case.case_index';
comment on column label_minimum.formula_reduced is 'smallest whole-number formula';
comment on column label_minimum.n_atoms is 'atoms in the cell';
comment on column label_minimum.model is 'NAME@VERSION of the model that relaxed it';
comment on column label_minimum.energy_ev_per_atom is 'of the final state by the label set, eV/atom; only differences mean something';
comment on column label_minimum.above_lowest_ev_per_atom is 'above the lowest of the models that are labelled for this start, eV/atom; 0 is the winner';
comment on column label_minimum.n_models is 'models that are labelled for this start';
comment on column label_minimum.fmax_ev_per_ang is 'largest force by the label set on what the model calls relaxed, eV/Å';
