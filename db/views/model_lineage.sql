create view model_lineage as
with recursive line as (
    select
        model_version.id,
        model_version.id as root_id,
        0 as depth,
        array[model_version.name || '@' || model_version.version] as path
    from model_version
    where model_version.parent_id is null
    union all
    select
        child.id,
        line.root_id,
        line.depth + 1,
        line.path || (child.name || '@' || child.version)
    from line
    join model_version as child on child.parent_id = line.id
)
select
    model_version.name || '@' || model_version.version as model,
    case when root.training_run_id is null then root.name || '@' || root.version end as foundation,
    parent.name || '@' || parent.version as parent,
    line.depth,
    line.path,
    dataset.name || '@' || dataset.version as dataset,
    training_run.strategy,
    model_version.state,
    model_version.warnings,
    model_version.created_at,
    model_version.id as model_version_id
from line
join model_version on model_version.id = line.id
join model_version as root on root.id = line.root_id
left join model_version as parent on parent.id = model_version.parent_id
left join dataset on dataset.id = model_version.dataset_id
left join training_run on training_run.id = model_version.training_run_id;

comment on view model_lineage is 'where every model comes from, one row a model version';
comment on column model_lineage.model is 'NAME@VERSION';
comment on column model_lineage.foundation is 'first of its line; null where that was trained here from scratch';
comment on column model_lineage.parent is 'NAME@VERSION that it was finetuned from; null for the first of a line';
comment on column model_lineage.depth is 'finetunings between it and the first of its line';
comment on column model_lineage.path is 'NAME@VERSION of the whole line, the oldest first, itself last';
comment on column model_lineage.dataset is 'NAME@VERSION of its training data; null if it was not made here';
comment on column model_lineage.strategy is 'how it was trained; null if it was not made here';
comment on column model_lineage.state is 'candidate, production or archived';
comment on column model_lineage.warnings is 'sentences of the assessment: softer than its parent, forgets';
comment on column model_lineage.created_at is 'when it was registered';
comment on column model_lineage.model_version_id is 'model_version.id';
