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
