"""benchmarks that run by themselves for new models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# As the file of db/views was then: what a migration does never changes.
_VIEW = """\
create or replace view pending_evaluation as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    evaluation.state,
    evaluation.failure,
    model_version.id as model_version_id,
    benchmark.id as benchmark_id{auto}
from model_version
cross join (
    select distinct on (benchmark.name)
        benchmark.id, benchmark.name, benchmark.version, benchmark.kind{column}
    from benchmark
    where benchmark.kind <> 'relax'
    order by benchmark.name, benchmark.version desc
) as benchmark
left join evaluation
    on evaluation.model_version_id = model_version.id
    and evaluation.benchmark_id = benchmark.id
    and evaluation.replaces_id is null
where model_version.state <> 'archived' and evaluation.state is distinct from 'completed'
"""
_AUTO = """,
    benchmark.auto and (
        model_version.training_run_id is not null
        or model_version.reference like 'file:%'
        or model_version.state = 'production'
    ) as auto"""
_KINDS = "'off-equilibrium', 'forgetting-holdout', 'equation-of-state'"


def upgrade() -> None:
    op.add_column(
        "benchmark",
        sa.Column(
            "auto",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="whether it runs by itself for new models; one mark for all versions of a name",
        ),
    )
    # The bundled ones, which are called after their kind: what new ones of these kinds are marked as.
    op.execute(f"update benchmark set auto = true where kind = name and kind in ({_KINDS})")
    op.execute(_VIEW.format(auto=_AUTO, column=", benchmark.auto"))
    op.execute(
        "comment on column pending_evaluation.auto is 'whether it runs by itself: the benchmark is marked auto, and the "
        "model was finetuned or added here, or is in production'"
    )


def downgrade() -> None:
    # A view that loses a column has to be made anew, with its comments and rights: those of 0008, which made it.
    connection = op.get_bind()
    comments = connection.execute(
        sa.text(
            "select attname, col_description(attrelid, attnum) from pg_attribute "
            "where attrelid = 'pending_evaluation'::regclass and attnum > 0 and attname <> 'auto'"
        )
    ).all()
    about = connection.scalar(sa.text("select obj_description('pending_evaluation'::regclass)"))
    op.execute("drop view pending_evaluation")
    op.execute(_VIEW.format(auto="", column=""))
    op.execute(f"comment on view pending_evaluation is '{about}'")
    for column, comment in comments:
        op.execute(f"comment on column pending_evaluation.{column} is '{comment}'")
    op.execute(
        "do $$ begin if exists (select from pg_roles where rolname = 'heo_reader') then "
        "grant select on pending_evaluation to heo_reader; end if; end $$"
    )
    op.drop_column("benchmark", "auto")
