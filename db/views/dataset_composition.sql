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
