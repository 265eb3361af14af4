"""the model registry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# As db/views/model_lineage.sql and db/views/training_curve.sql were then: what a migration does never changes.
MODEL_LINEAGE = """
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
"""
TRAINING_CURVE = """
create view training_curve as
select
    training_run.id as training_run_id,
    training_run.name as run,
    model_version.name || '@' || model_version.version as model,
    training_run.strategy,
    training_run.state,
    epoch_metric.epoch,
    epoch_metric.train_loss,
    epoch_metric.validation_loss,
    epoch_metric.energy_rmse_ev_per_atom,
    epoch_metric.energy_mae_ev_per_atom,
    epoch_metric.forces_rmse_ev_per_ang,
    epoch_metric.forces_mae_ev_per_ang,
    epoch_metric.forces_q95_ev_per_ang,
    epoch_metric.stress_rmse_ev_per_ang3,
    epoch_metric.stress_mae_ev_per_ang3,
    epoch_metric.replay_energy_rmse_ev_per_atom,
    epoch_metric.replay_forces_rmse_ev_per_ang,
    epoch_metric.score,
    epoch_metric.lr,
    epoch_metric.seconds,
    coalesce(epoch_metric.epoch = training_run.best_epoch, false) as is_best
from training_run
join epoch_metric on epoch_metric.training_run_id = training_run.id
left join model_version on model_version.training_run_id = training_run.id;

comment on view training_curve is 'validation errors of every training run, one row an epoch';
comment on column training_curve.training_run_id is 'training_run.id';
comment on column training_curve.run is 'name of the model that the run makes';
comment on column training_curve.model is 'NAME@VERSION that it made; null until it is completed';
comment on column training_curve.strategy is 'naive, replay, freeze, lora or scratch';
comment on column training_curve.state is 'running, completed or failed';
comment on column training_curve.epoch is '0 before training, then 1, 2, ...';
comment on column training_curve.train_loss is 'mean loss over the epoch''s batches';
comment on column training_curve.validation_loss is 'loss on the validation split';
comment on column training_curve.energy_rmse_ev_per_atom is 'on the validation split, eV/atom';
comment on column training_curve.energy_mae_ev_per_atom is 'on the validation split, eV/atom';
comment on column training_curve.forces_rmse_ev_per_ang is 'per component, on the validation split, eV/Å';
comment on column training_curve.forces_mae_ev_per_ang is 'per component, on the validation split, eV/Å';
comment on column training_curve.forces_q95_ev_per_ang is '95th percentile of the absolute component errors, eV/Å';
comment on column training_curve.stress_rmse_ev_per_ang3 is 'per component, on the validation split, eV/Å³';
comment on column training_curve.stress_mae_ev_per_ang3 is 'per component, on the validation split, eV/Å³';
comment on column training_curve.replay_energy_rmse_ev_per_atom is 'on the replayed cells that were held out, eV/atom';
comment on column training_curve.replay_forces_rmse_ev_per_ang is 'on the replayed cells that were held out, eV/Å';
comment on column training_curve.score is 'robust validation score, no unit, lower is better';
comment on column training_curve.lr is 'learning rate of the epoch';
comment on column training_curve.seconds is 'wall time of the epoch';
comment on column training_curve.is_best is 'whether this epoch''s weights became the model';
"""

# What is known of the models that are there already.
BACKFILL = """
update model_version
set
    dataset_hash = dataset.content_hash,
    package_versions = training_run.versions,
    code_version = training_run.versions ->> 'heo',
    device = training_run.device,
    wall_s = training_run.wall_s
from training_run
join dataset on dataset.id = training_run.dataset_id
where training_run.id = model_version.training_run_id;

with recursive line as (
    select id, id as root_id from model_version where parent_id is null
    union all
    select child.id, line.root_id from line join model_version as child on child.parent_id = line.id
)
update model_version
set foundation_id = line.root_id
from line
where line.id = model_version.id and line.root_id <> model_version.id;
"""


def upgrade() -> None:
    op.add_column(
        "model_version",
        sa.Column(
            "params_hash", sa.Text(), nullable=True, comment="sha256 of params; null for a model that was not made here"
        ),
    )
    op.add_column(
        "model_version",
        sa.Column(
            "dataset_hash",
            sa.Text(),
            nullable=True,
            comment="dataset.content_hash when it was trained: members and splits",
        ),
    )
    op.add_column(
        "model_version",
        sa.Column(
            "foundation_id",
            sa.BigInteger(),
            nullable=True,
            comment="root of its lineage, a model that was not made here",
        ),
    )
    op.add_column(
        "model_version",
        sa.Column("code_version", sa.Text(), nullable=True, comment="version of heo that made or registered it"),
    )
    op.add_column(
        "model_version",
        sa.Column(
            "package_versions",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="versions of the packages that made it",
        ),
    )
    op.add_column(
        "model_version",
        sa.Column("device", sa.Text(), nullable=True, comment="that it was trained on: cpu or cuda, and its name"),
    )
    op.add_column(
        "model_version",
        sa.Column(
            "wall_s", sa.Double(), nullable=True, comment="seconds from the start of its training to its registration"
        ),
    )
    op.add_column(
        "model_version",
        sa.Column("train_s", sa.Double(), nullable=True, comment="seconds of training, all tries together"),
    )
    op.add_column(
        "model_version",
        sa.Column(
            "e0s",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="energy of each element's free atom in it, eV",
        ),
    )
    op.add_column(
        "model_version",
        sa.Column("dtype", sa.Text(), nullable=True, comment="of the weights in the file: float32 or float64"),
    )
    op.add_column(
        "model_version",
        sa.Column("n_parameters", sa.BigInteger(), nullable=True, comment="numbers that training can change"),
    )
    op.add_column("model_version", sa.Column("r_max_ang", sa.Double(), nullable=True, comment="cutoff radius, Å"))
    op.add_column(
        "model_version",
        sa.Column(
            "state",
            sa.Text(),
            server_default="candidate",
            nullable=False,
            comment="candidate, production (one a name at most) or archived",
        ),
    )
    op.add_column("model_version", sa.Column("note", sa.Text(), nullable=True, comment="free text of the user's"))
    op.add_column(
        "model_version",
        sa.Column(
            "warnings",
            sa.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="sentences of the assessment: softer than its parent, forgets",
        ),
    )
    op.add_column("training_run", sa.Column("params_hash", sa.Text(), nullable=True, comment="sha256 of params"))
    op.add_column(
        "training_run",
        sa.Column(
            "strategy",
            sa.Text(),
            server_default="naive",
            nullable=False,
            comment="naive, replay, freeze, lora or scratch: docs/finetuning.md",
        ),
    )
    op.add_column(
        "training_run",
        sa.Column(
            "e0s",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="energy of each element's free atom that training started from, eV",
        ),
    )
    op.add_column(
        "training_run",
        sa.Column(
            "replay",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="what was replayed: source, labels and n_cells; null where nothing was",
        ),
    )
    op.add_column(
        "training_run",
        sa.Column(
            "best_score", sa.Double(), nullable=True, comment="epoch_metric.score of that epoch, lower is better"
        ),
    )
    op.add_column(
        "training_run",
        sa.Column("stop_reason", sa.Text(), nullable=True, comment="why it ended: max_num_epochs or patience"),
    )
    op.add_column(
        "training_run",
        sa.Column(
            "n_resumes",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="tries that went on from a checkpoint of an earlier one",
        ),
    )
    op.add_column(
        "training_run",
        sa.Column("train_s", sa.Double(), nullable=True, comment="seconds of training, all tries together"),
    )
    op.add_column(
        "training_run", sa.Column("log_tail", sa.Text(), nullable=True, comment="last lines of the trainer's log")
    )
    op.add_column(
        "epoch_metric",
        sa.Column(
            "stress_rmse_ev_per_ang3",
            sa.Double(),
            nullable=True,
            comment="per component; null where the split has no stress",
        ),
    )
    op.add_column(
        "epoch_metric",
        sa.Column(
            "stress_mae_ev_per_ang3",
            sa.Double(),
            nullable=True,
            comment="per component; null where the split has no stress",
        ),
    )
    op.add_column(
        "epoch_metric",
        sa.Column(
            "replay_energy_rmse_ev_per_atom",
            sa.Double(),
            nullable=True,
            comment="on the replayed cells that were held out; multihead replay only",
        ),
    )
    op.add_column(
        "epoch_metric",
        sa.Column(
            "replay_forces_rmse_ev_per_ang",
            sa.Double(),
            nullable=True,
            comment="per component, on the replayed cells that were held out; multihead replay only",
        ),
    )
    op.add_column(
        "epoch_metric",
        sa.Column("score", sa.Double(), nullable=True, comment="robust validation score, no unit, lower is better"),
    )
    op.add_column("epoch_metric", sa.Column("lr", sa.Double(), nullable=True, comment="learning rate of the epoch"))
    op.create_foreign_key(
        op.f("fk_model_version_foundation_id_model_version"),
        "model_version",
        "model_version",
        ["foundation_id"],
        ["id"],
    )
    op.create_check_constraint(
        op.f("ck_model_version_state"), "model_version", "state in ('candidate', 'production', 'archived')"
    )
    op.create_index(
        "uq_model_version_production",
        "model_version",
        ["name"],
        unique=True,
        postgresql_where=sa.text("state = 'production'"),
    )
    op.execute(BACKFILL)
    op.execute(MODEL_LINEAGE)
    op.execute(TRAINING_CURVE)


def downgrade() -> None:
    op.execute("drop view training_curve")
    op.execute("drop view model_lineage")
    op.drop_index("uq_model_version_production", table_name="model_version")
    op.drop_constraint(op.f("ck_model_version_state"), "model_version")
    op.drop_constraint(op.f("fk_model_version_foundation_id_model_version"), "model_version", type_="foreignkey")
    op.drop_column("epoch_metric", "lr")
    op.drop_column("epoch_metric", "score")
    op.drop_column("epoch_metric", "replay_forces_rmse_ev_per_ang")
    op.drop_column("epoch_metric", "replay_energy_rmse_ev_per_atom")
    op.drop_column("epoch_metric", "stress_mae_ev_per_ang3")
    op.drop_column("epoch_metric", "stress_rmse_ev_per_ang3")
    op.drop_column("training_run", "log_tail")
    op.drop_column("training_run", "train_s")
    op.drop_column("training_run", "n_resumes")
    op.drop_column("training_run", "stop_reason")
    op.drop_column("training_run", "best_score")
    op.drop_column("training_run", "replay")
    op.drop_column("training_run", "e0s")
    op.drop_column("training_run", "strategy")
    op.drop_column("training_run", "params_hash")
    op.drop_column("model_version", "warnings")
    op.drop_column("model_version", "note")
    op.drop_column("model_version", "state")
    op.drop_column("model_version", "r_max_ang")
    op.drop_column("model_version", "n_parameters")
    op.drop_column("model_version", "dtype")
    op.drop_column("model_version", "e0s")
    op.drop_column("model_version", "train_s")
    op.drop_column("model_version", "wall_s")
    op.drop_column("model_version", "device")
    op.drop_column("model_version", "package_versions")
    op.drop_column("model_version", "code_version")
    op.drop_column("model_version", "foundation_id")
    op.drop_column("model_version", "dataset_hash")
    op.drop_column("model_version", "params_hash")
