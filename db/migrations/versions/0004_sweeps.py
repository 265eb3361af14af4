"""sweeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As db/views/sweep_ranking.sql was then: what a migration does never changes.
SWEEP_RANKING = """
create view sweep_ranking as
select
    sweep.name || '@' || sweep.version as sweep,
    case
        when sweep_trial.score is not null
        then rank() over (partition by sweep.id order by sweep_trial.score asc nulls last)
    end as rank,
    sweep_trial.number as trial,
    sweep_trial.state,
    sweep_trial.score,
    sweep_trial.params,
    model_version.name || '@' || model_version.version as model,
    epoch_metric.energy_rmse_ev_per_atom,
    epoch_metric.energy_mae_ev_per_atom,
    epoch_metric.forces_rmse_ev_per_ang,
    epoch_metric.forces_mae_ev_per_ang,
    training_run.best_epoch,
    coalesce(training_run.train_s, training_run.wall_s) as seconds,
    sweep_trial.failure,
    sweep_trial.flow_run_id,
    sweep.id as sweep_id,
    sweep_trial.training_run_id,
    sweep_trial.model_version_id
from sweep
join sweep_trial on sweep_trial.sweep_id = sweep.id
left join training_run on training_run.id = sweep_trial.training_run_id
left join epoch_metric
    on epoch_metric.training_run_id = training_run.id and epoch_metric.epoch = training_run.best_epoch
left join model_version on model_version.id = sweep_trial.model_version_id;

comment on view sweep_ranking is 'trials of every sweep with their place by validation score, one row a trial';
comment on column sweep_ranking.sweep is 'NAME@VERSION';
comment on column sweep_ranking.rank is '1 is the best of its sweep, equal scores share a place; null without a score';
comment on column sweep_ranking.trial is '0, 1, ...';
comment on column sweep_ranking.state is 'waiting, running, completed or failed';
comment on column sweep_ranking.score is 'best validation score, lower is better';
comment on column sweep_ranking.params is 'values of the fields that are searched, for example params ->> ''lr''';
comment on column sweep_ranking.model is 'NAME@VERSION that it made; null until it is completed';
comment on column sweep_ranking.energy_rmse_ev_per_atom is 'of the best epoch on the validation split, eV/atom';
comment on column sweep_ranking.energy_mae_ev_per_atom is 'of the best epoch on the validation split, eV/atom';
comment on column sweep_ranking.forces_rmse_ev_per_ang is 'per component, of the best epoch on the validation split, eV/Å';
comment on column sweep_ranking.forces_mae_ev_per_ang is 'per component, of the best epoch on the validation split, eV/Å';
comment on column sweep_ranking.best_epoch is 'epoch whose weights became the model';
comment on column sweep_ranking.seconds is 'of training';
comment on column sweep_ranking.failure is 'why there is no score';
comment on column sweep_ranking.flow_run_id is 'Prefect flow run that trains it, or did it last';
comment on column sweep_ranking.sweep_id is 'sweep.id';
comment on column sweep_ranking.training_run_id is 'training_run.id';
comment on column sweep_ranking.model_version_id is 'model_version.id';
"""


def upgrade() -> None:
    op.create_table(
        "sweep",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="name given by the user; its models are NAME-t00, NAME-t01, ..."
        ),
        sa.Column("version", sa.Integer(), nullable=False, comment="1, 2, ... for one name"),
        sa.Column(
            "key",
            sa.Text(),
            nullable=False,
            comment="sha256 of base, space, sampler, seed, dataset content and foundation",
        ),
        sa.Column(
            "params",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="SweepParams, with the dataset as NAME@VERSION",
        ),
        sa.Column("dataset_id", sa.BigInteger(), nullable=False, comment="dataset of all trials"),
        sa.Column("n_trials", sa.Integer(), nullable=False, comment="trainings that were asked for"),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="running; completed: every trial has ended; failed: it broke off",
        ),
        sa.Column("failure", sa.Text(), nullable=True, comment="why it broke off; run again, it goes on"),
        sa.Column("flow_run_id", sa.Text(), nullable=True, comment="Prefect flow run that did it last"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True, comment="end of the last try"),
        sa.CheckConstraint("state in ('running', 'completed', 'failed')", name=op.f("ck_sweep_state")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_sweep_dataset_id_dataset")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweep")),
        sa.UniqueConstraint("name", "key", name=op.f("uq_sweep_name_key")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_sweep_name_version")),
        comment="searches over parameters of a finetuning; NAME@VERSION; ranked in the view sweep_ranking",
    )
    op.create_index(op.f("ix_sweep_dataset_id"), "sweep", ["dataset_id"], unique=False)
    op.create_table(
        "sweep_trial",
        sa.Column("sweep_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="0, 1, ..."),
        sa.Column("optuna_number", sa.Integer(), nullable=False, comment="number of the trial in Optuna's study"),
        sa.Column(
            "params",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="values of the fields that are searched",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="waiting, running, completed or failed"),
        sa.Column("failure", sa.Text(), nullable=True, comment="why there is no score"),
        sa.Column(
            "score", sa.Double(), nullable=True, comment="best validation score, as training_run.best_score has it"
        ),
        sa.Column("training_run_id", sa.BigInteger(), nullable=True),
        sa.Column("model_version_id", sa.BigInteger(), nullable=True, comment="model that it made"),
        sa.Column(
            "flow_run_id", sa.Text(), nullable=True, comment="Prefect flow run that trains it, or did it last"
        ),
        sa.Column(
            "n_tries",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="flow runs that were made for it; more than 1: some were killed",
        ),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), nullable=True, comment="when its first flow run was made"
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True, comment="when its end was noticed"),
        sa.CheckConstraint(
            "state in ('waiting', 'running', 'completed', 'failed')", name=op.f("ck_sweep_trial_state")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_sweep_trial_model_version_id_model_version")
        ),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweep.id"], name=op.f("fk_sweep_trial_sweep_id_sweep"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["training_run_id"], ["training_run.id"], name=op.f("fk_sweep_trial_training_run_id_training_run")
        ),
        sa.PrimaryKeyConstraint("sweep_id", "number", name=op.f("pk_sweep_trial")),
        sa.UniqueConstraint("sweep_id", "optuna_number", name=op.f("uq_sweep_trial_sweep_id_optuna_number")),
        comment="trainings of a sweep, failed ones too; what drew their parameters stands in the schema optuna",
    )
    op.create_index(op.f("ix_sweep_trial_training_run_id"), "sweep_trial", ["training_run_id"], unique=False)
    op.execute(SWEEP_RANKING)


def downgrade() -> None:
    op.execute("drop view sweep_ranking")
    op.drop_index(op.f("ix_sweep_trial_training_run_id"), table_name="sweep_trial")
    op.drop_table("sweep_trial")
    op.drop_index(op.f("ix_sweep_dataset_id"), table_name="sweep")
    op.drop_table("sweep")
    op.execute("drop schema if exists optuna cascade")
