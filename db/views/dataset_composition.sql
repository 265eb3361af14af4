create view dataset_composition as
select
    dataset.name || '@' || dataset.version as dataset,
    dataset_element.split,
    dataset_element.element,
    dataset_element.n_structures,
    dataset_element.n_structures::double precision / oxygen.n_structures as share_of_oxides,
    dataset_element.n_elements_mean
from dataset
join dataset_element on dataset_element.dataset_id = dataset.id
left join dataset_element as oxygen
    on oxygen.dataset_id = dataset.id and oxygen.split = dataset_element.split and oxygen.element = 'O';

comment on view dataset_composition is 'how often each element occurs in each split of a dataset';
comment on column dataset_composition.dataset is 'NAME@VERSION';
comment on column dataset_composition.split is 'train, validation, test, off_equilibrium or generated';
comment on column dataset_composition.element is 'symbol';
comment on column dataset_composition.n_structures is 'structures of the split that hold it';
comment on column dataset_composition.share_of_oxides is 'of the structures of the split that hold oxygen; null where none does';
comment on column dataset_composition.n_elements_mean is 'mean number of elements of the structures that hold it';
