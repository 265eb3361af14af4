"""the first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# As db/views/leaderboard.sql was then: what a migration does never changes.
LEADERBOARD = """
create view leaderboard as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    metric.name as metric,
    metric.value,
    metric.ci_low,
    metric.ci_high,
    metric.unit,
    metric.n,
    evaluation.wall_s,
    evaluation.finished_at
from evaluation
join metric on metric.evaluation_id = evaluation.id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

comment on view leaderboard is 'summary numbers of every completed evaluation, one row a number';
comment on column leaderboard.model is 'NAME@VERSION';
comment on column leaderboard.benchmark is 'NAME@VERSION';
comment on column leaderboard.kind is 'energy-forces, rattle-relax or substitution-relax';
comment on column leaderboard.metric is 'name of the number, defined in docs/metrics.md';
comment on column leaderboard.value is 'the number; null where there is nothing to average';
comment on column leaderboard.ci_low is 'lower end of the 95 % interval';
comment on column leaderboard.ci_high is 'upper end of the 95 % interval';
comment on column leaderboard.unit is 'unit of value and interval';
comment on column leaderboard.n is 'structures behind the number';
comment on column leaderboard.wall_s is 'seconds that the evaluation took';
comment on column leaderboard.finished_at is 'when the evaluation was completed';
"""


def upgrade() -> None:
    op.create_table(
        "dataset",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="name given by the user"),
        sa.Column("version", sa.Integer(), nullable=False, comment="1, 2, ... for one name"),
        sa.Column(
            "key",
            sa.Text(),
            nullable=False,
            comment="sha256 of parameters and source content: curating the same again finds this row",
        ),
        sa.Column(
            "content_hash", sa.Text(), nullable=False, comment="sha256 of members and splits, independent of row order"
        ),
        sa.Column("source_uri", sa.Text(), nullable=False, comment="where the rows were read"),
        sa.Column(
            "source_revision", sa.Text(), nullable=False, comment="commit of a Hub dataset, or sha256 of local files"
        ),
        sa.Column("licence", sa.Text(), nullable=True, comment="licence of the source"),
        sa.Column("citation", sa.Text(), nullable=True, comment="how to cite the source"),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="CurationParams"),
        sa.Column("n_scanned", sa.BigInteger(), nullable=False, comment="rows read"),
        sa.Column("n_kept", sa.BigInteger(), nullable=False, comment="rows kept"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint("name", "key", name=op.f("uq_dataset_name_key")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_dataset_name_version")),
        comment="curated sets of structures; NAME@VERSION; a row exists only when the whole set is stored",
    )
    op.create_table(
        "report",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="sha256 of name, models and evaluations"),
        sa.Column("name", sa.Text(), nullable=False, comment="file name without its ending"),
        sa.Column("uri", sa.Text(), nullable=False, comment="where the page is"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the page"),
        sa.Column("evaluation_ids", sa.ARRAY(sa.BigInteger()), nullable=False, comment="evaluations that it shows"),
        sa.Column("answer", sa.ARRAY(sa.Text()), nullable=False, comment="its opening sentences"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the page was last written",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("key", name=op.f("uq_report_key")),
        comment="report pages; the same content of the database gives the same row",
    )
    op.create_table(
        "structure",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False, comment="sha256 of geometry, labels and origin"),
        sa.Column("immutable_id", sa.Text(), nullable=False, comment="id in the source, for example mp-19770"),
        sa.Column(
            "source",
            sa.Text(),
            nullable=False,
            comment="mp, agm, oqmd, ...; generated for start structures of a benchmark",
        ),
        sa.Column(
            "functional",
            sa.Text(),
            nullable=True,
            comment="how the labels were made, for example pbe, or a potential's name",
        ),
        sa.Column("fingerprint", sa.Text(), nullable=True, comment="the source's fingerprint of the material"),
        sa.Column(
            "formula_reduced",
            sa.Text(),
            nullable=False,
            comment="smallest whole-number formula, elements in alphabetical order",
        ),
        sa.Column("chemical_system", sa.Text(), nullable=False, comment="elements joined by hyphens"),
        sa.Column(
            "elements", sa.ARRAY(sa.Text()), nullable=False, comment="different elements, alphabetical; GIN index"
        ),
        sa.Column("n_elements", sa.Integer(), nullable=False, comment="number of different elements"),
        sa.Column("n_atoms", sa.Integer(), nullable=False, comment="atoms in the cell"),
        sa.Column(
            "lattice_ang",
            sa.ARRAY(sa.Double(), dimensions=2),
            nullable=False,
            comment="3 x 3, rows are the lattice vectors, Å",
        ),
        sa.Column(
            "positions_ang", sa.ARRAY(sa.Double(), dimensions=2), nullable=False, comment="n_atoms x 3, Cartesian, Å"
        ),
        sa.Column("species", sa.ARRAY(sa.Text()), nullable=False, comment="one symbol an atom"),
        sa.Column("energy_ev", sa.Double(), nullable=True, comment="reference energy of the cell, eV, uncorrected"),
        sa.Column(
            "forces_ev_per_ang",
            sa.ARRAY(sa.Double(), dimensions=2),
            nullable=True,
            comment="reference forces, n_atoms x 3, eV/Å",
        ),
        sa.Column(
            "stress_ev_per_ang3",
            sa.ARRAY(sa.Double(), dimensions=2),
            nullable=True,
            comment="reference stress, 3 x 3, eV/Å³",
        ),
        sa.Column("fmax_ev_per_ang", sa.Double(), nullable=True, comment="length of the largest reference force, eV/Å"),
        sa.Column("volume_per_atom_ang3", sa.Double(), nullable=False, comment="volume of the cell per atom, Å³"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_structure")),
        sa.UniqueConstraint("content_hash", name=op.f("uq_structure_content_hash")),
        comment="periodic cells with their labels; the same content is stored once",
    )
    op.create_index(op.f("ix_structure_chemical_system"), "structure", ["chemical_system"], unique=False)
    op.create_index(op.f("ix_structure_elements"), "structure", ["elements"], unique=False, postgresql_using="gin")
    op.create_index(op.f("ix_structure_formula_reduced"), "structure", ["formula_reduced"], unique=False)
    op.create_index(op.f("ix_structure_immutable_id"), "structure", ["immutable_id"], unique=False)
    op.create_table(
        "dataset_member",
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False, comment="train, validation or test"),
        sa.CheckConstraint("split in ('train', 'validation', 'test')", name=op.f("ck_dataset_member_split")),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name=op.f("fk_dataset_member_dataset_id_dataset"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structure.id"], name=op.f("fk_dataset_member_structure_id_structure")
        ),
        sa.PrimaryKeyConstraint("dataset_id", "structure_id", name=op.f("pk_dataset_member")),
        comment="which structure is in which split of which dataset",
    )
    op.create_index(op.f("ix_dataset_member_structure_id"), "dataset_member", ["structure_id"], unique=False)
    op.create_table(
        "dataset_rejection",
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False, comment="name of the rule"),
        sa.Column("n_rejected", sa.BigInteger(), nullable=False, comment="rows left out"),
        sa.Column("example_ids", sa.ARRAY(sa.Text()), nullable=False, comment="a few of their ids"),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name=op.f("fk_dataset_rejection_dataset_id_dataset"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_id", "rule", name=op.f("pk_dataset_rejection")),
        comment="rows that each curation rule left out; a row counts for the first rule that it breaks",
    )
    op.create_table(
        "model_version",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="name given by the user, or the reference of a published model"
        ),
        sa.Column("version", sa.Integer(), nullable=False, comment="1, 2, ... for one name"),
        sa.Column(
            "key",
            sa.Text(),
            nullable=False,
            comment="what makes it this version: the training run's key, or the file's sha256",
        ),
        sa.Column("family", sa.Text(), nullable=False, comment="mace, chgnet, ..."),
        sa.Column(
            "reference",
            sa.Text(),
            nullable=False,
            comment="how it was asked for, for example heo-mini or mace-mp:medium",
        ),
        sa.Column("parent_id", sa.BigInteger(), nullable=True, comment="model that it was finetuned from"),
        sa.Column("dataset_id", sa.BigInteger(), nullable=True, comment="dataset that it was finetuned on"),
        sa.Column("training_run_id", sa.BigInteger(), nullable=True, comment="training run that made it"),
        sa.Column(
            "sha256", sa.Text(), nullable=True, comment="of the file; null where the weights are part of a package"
        ),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True, comment="of the file, bytes"),
        sa.Column("artifact_uri", sa.Text(), nullable=True, comment="where the file is"),
        sa.Column(
            "elements",
            sa.ARRAY(sa.Text()),
            nullable=False,
            comment="elements that it knows; empty: all that its package knows",
        ),
        sa.Column("energy_scale", sa.Text(), nullable=True, comment="what its energies are relative to"),
        sa.Column("licence", sa.Text(), nullable=True, comment="licence of the weights"),
        sa.Column(
            "params",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="FinetuneParams, or empty for a model that was not made here",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_model_version_dataset_id_dataset")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["model_version.id"], name=op.f("fk_model_version_parent_id_model_version")
        ),
        sa.ForeignKeyConstraint(
            ["training_run_id"],
            ["training_run.id"],
            name=op.f("fk_model_version_training_run_id_training_run"),
            use_alter=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("name", "key", name=op.f("uq_model_version_name_key")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_model_version_name_version")),
        sa.UniqueConstraint("training_run_id", name=op.f("uq_model_version_training_run_id")),
        comment="registered models; NAME@VERSION; files are loaded only when their sha256 fits",
    )
    op.create_table(
        "benchmark",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="KIND, or KIND:DATASET for one on a dataset's split"),
        sa.Column("version", sa.Integer(), nullable=False, comment="1, 2, ... for one name"),
        sa.Column("key", sa.Text(), nullable=False, comment="sha256 of parameters, structures and reference model"),
        sa.Column("kind", sa.Text(), nullable=False, comment="energy-forces, rattle-relax or substitution-relax"),
        sa.Column(
            "params",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="EnergyForcesParams, RattleRelaxParams or SubstitutionRelaxParams",
        ),
        sa.Column("dataset_id", sa.BigInteger(), nullable=True, comment="dataset that the structures come from"),
        sa.Column(
            "reference_id", sa.BigInteger(), nullable=True, comment="model that gives the common reference energy"
        ),
        sa.Column("n_cases", sa.BigInteger(), nullable=False, comment="structures in it"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_benchmark_dataset_id_dataset")),
        sa.ForeignKeyConstraint(
            ["reference_id"], ["model_version.id"], name=op.f("fk_benchmark_reference_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_benchmark")),
        sa.UniqueConstraint("name", "key", name=op.f("uq_benchmark_name_key")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_benchmark_name_version")),
        comment="versioned definitions: a number always says what it measured",
    )
    op.create_table(
        "training_run",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column(
            "key",
            sa.Text(),
            nullable=False,
            comment="sha256 of name, MACE's arguments, dataset content and foundation file",
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="name of the model that it makes"),
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("foundation_id", sa.BigInteger(), nullable=False, comment="model that it starts from"),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="FinetuneParams"),
        sa.Column(
            "mace_arguments",
            sa.ARRAY(sa.Text()),
            nullable=False,
            comment="what mace_run_train was told, without paths and device",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="running, completed or failed"),
        sa.Column("failure", sa.Text(), nullable=True, comment="why there is no model, with the last lines of the log"),
        sa.Column("n_train", sa.BigInteger(), nullable=False, comment="structures trained on"),
        sa.Column("n_validation", sa.BigInteger(), nullable=False, comment="structures that pick the best epoch"),
        sa.Column(
            "left_out",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="structures of the dataset not used, by reason",
        ),
        sa.Column(
            "best_epoch", sa.Integer(), nullable=True, comment="epoch (1, 2, ...) whose weights became the model"
        ),
        sa.Column("device", sa.Text(), nullable=True, comment="cpu or cuda, and its name"),
        sa.Column(
            "versions",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="versions of heo, mace-torch, torch",
        ),
        sa.Column("flow_run_id", sa.Text(), nullable=True, comment="Prefect flow run that did it last"),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="start of the last try",
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True, comment="end of the last try"),
        sa.Column("wall_s", sa.Double(), nullable=True, comment="seconds of the last try"),
        sa.CheckConstraint("state in ('running', 'completed', 'failed')", name=op.f("ck_training_run_state")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_training_run_dataset_id_dataset")),
        sa.ForeignKeyConstraint(
            ["foundation_id"], ["model_version.id"], name=op.f("fk_training_run_foundation_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_run")),
        sa.UniqueConstraint("key", name=op.f("uq_training_run_key")),
        comment="finetunings; the same parameters on the same data and foundation are one row",
    )
    op.create_index(op.f("ix_training_run_dataset_id"), "training_run", ["dataset_id"], unique=False)
    op.create_table(
        "benchmark_case",
        sa.Column("benchmark_id", sa.BigInteger(), nullable=False),
        sa.Column("case_index", sa.Integer(), nullable=False, comment="0, 1, ..."),
        sa.Column("structure_id", sa.BigInteger(), nullable=False, comment="start structure"),
        sa.Column("target_id", sa.BigInteger(), nullable=True, comment="structure that it should relax to"),
        sa.Column(
            "recipe",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="how the start structure was made, seed included",
        ),
        sa.ForeignKeyConstraint(
            ["benchmark_id"],
            ["benchmark.id"],
            name=op.f("fk_benchmark_case_benchmark_id_benchmark"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structure.id"], name=op.f("fk_benchmark_case_structure_id_structure")
        ),
        sa.ForeignKeyConstraint(["target_id"], ["structure.id"], name=op.f("fk_benchmark_case_target_id_structure")),
        sa.PrimaryKeyConstraint("benchmark_id", "case_index", name=op.f("pk_benchmark_case")),
        comment="the structures of a benchmark: what every model starts from",
    )
    op.create_index(op.f("ix_benchmark_case_structure_id"), "benchmark_case", ["structure_id"], unique=False)
    op.create_table(
        "epoch_metric",
        sa.Column("training_run_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="0 before training, then 1, 2, ..."),
        sa.Column("train_loss", sa.Double(), nullable=True, comment="mean loss over the epoch's batches"),
        sa.Column("validation_loss", sa.Double(), nullable=False, comment="loss on the validation split"),
        sa.Column("energy_rmse_ev_per_atom", sa.Double(), nullable=False),
        sa.Column("energy_mae_ev_per_atom", sa.Double(), nullable=True),
        sa.Column("forces_rmse_ev_per_ang", sa.Double(), nullable=False, comment="per component"),
        sa.Column("forces_mae_ev_per_ang", sa.Double(), nullable=True, comment="per component"),
        sa.Column(
            "forces_q95_ev_per_ang",
            sa.Double(),
            nullable=True,
            comment="95th percentile of the absolute component errors",
        ),
        sa.Column("seconds", sa.Double(), nullable=True, comment="wall time of the epoch"),
        sa.ForeignKeyConstraint(
            ["training_run_id"],
            ["training_run.id"],
            name=op.f("fk_epoch_metric_training_run_id_training_run"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("training_run_id", "epoch", name=op.f("pk_epoch_metric")),
        comment="a training run's errors on its validation split, as MACE logs them; epoch 0 is before training",
    )
    op.create_table(
        "evaluation",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("benchmark_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="running, completed or failed"),
        sa.Column("failure", sa.Text(), nullable=True, comment="why it is not complete"),
        sa.Column("device", sa.Text(), nullable=True, comment="cpu or cuda"),
        sa.Column("flow_run_id", sa.Text(), nullable=True, comment="Prefect flow run that did it last"),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="start of the last try",
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True, comment="end of the last try"),
        sa.Column("wall_s", sa.Double(), nullable=True, comment="seconds of the try that completed it"),
        sa.CheckConstraint("state in ('running', 'completed', 'failed')", name=op.f("ck_evaluation_state")),
        sa.ForeignKeyConstraint(["benchmark_id"], ["benchmark.id"], name=op.f("fk_evaluation_benchmark_id_benchmark")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_evaluation_model_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint(
            "model_version_id", "benchmark_id", name=op.f("uq_evaluation_model_version_id_benchmark_id")
        ),
        comment="one model version on one benchmark version; done once, found again",
    )
    op.create_index(op.f("ix_evaluation_benchmark_id"), "evaluation", ["benchmark_id"], unique=False)
    op.create_table(
        "comparison",
        sa.Column("baseline_id", sa.BigInteger(), nullable=False),
        sa.Column("candidate_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="metric.name"),
        sa.Column("value", sa.Double(), nullable=True, comment="candidate minus baseline"),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="structures behind the number"),
        sa.Column("ci_low", sa.Double(), nullable=True, comment="lower end of the 95 % interval"),
        sa.Column("ci_high", sa.Double(), nullable=True, comment="upper end of the 95 % interval"),
        sa.ForeignKeyConstraint(
            ["baseline_id"], ["evaluation.id"], name=op.f("fk_comparison_baseline_id_evaluation"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["evaluation.id"], name=op.f("fk_comparison_candidate_id_evaluation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("baseline_id", "candidate_id", "name", name=op.f("pk_comparison")),
        comment="candidate minus baseline, over the structures that both have a number for",
    )
    op.create_index(op.f("ix_comparison_candidate_id"), "comparison", ["candidate_id"], unique=False)
    op.create_table(
        "metric",
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="<quantity>_<statistic>_<unit>"),
        sa.Column("value", sa.Double(), nullable=True, comment="null where there is nothing to average"),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="structures behind the number"),
        sa.Column("ci_low", sa.Double(), nullable=True, comment="lower end of the 95 % interval"),
        sa.Column("ci_high", sa.Double(), nullable=True, comment="upper end of the 95 % interval"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_metric_evaluation_id_evaluation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "name", name=op.f("pk_metric")),
        comment="summary numbers of an evaluation; how each is computed stands in docs/metrics.md",
    )
    op.create_table(
        "prediction",
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False),
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column("energy_ev", sa.Double(), nullable=True, comment="predicted energy of the cell, eV"),
        sa.Column(
            "forces_ev_per_ang",
            sa.ARRAY(sa.Double(), dimensions=2),
            nullable=True,
            comment="predicted forces, n_atoms x 3, eV/Å",
        ),
        sa.Column("energy_error_ev_per_atom", sa.Double(), nullable=True, comment="predicted minus reference"),
        sa.Column("forces_rmse_ev_per_ang", sa.Double(), nullable=True, comment="over this structure's components"),
        sa.Column("forces_mae_ev_per_ang", sa.Double(), nullable=True, comment="over this structure's components"),
        sa.Column("failure", sa.Text(), nullable=True, comment="why there is no number"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluation.id"],
            name=op.f("fk_prediction_evaluation_id_evaluation"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["structure_id"], ["structure.id"], name=op.f("fk_prediction_structure_id_structure")),
        sa.PrimaryKeyConstraint("evaluation_id", "structure_id", name=op.f("pk_prediction")),
        comment="energies and forces of a model on the structures of an energy-forces benchmark",
    )
    op.create_index(op.f("ix_prediction_structure_id"), "prediction", ["structure_id"], unique=False)
    op.create_table(
        "relaxation",
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False),
        sa.Column("case_index", sa.Integer(), nullable=False, comment="benchmark_case.case_index"),
        sa.Column(
            "converged", sa.Boolean(), nullable=False, comment="forces and stress of the final state are below fmax"
        ),
        sa.Column("failure", sa.Text(), nullable=True, comment="why it did not converge"),
        sa.Column("force_calls", sa.Integer(), nullable=False, comment="evaluations of the model"),
        sa.Column(
            "wall_s", sa.Double(), nullable=False, comment="seconds; a batch's time is shared out over its structures"
        ),
        sa.Column(
            "energy_initial_ev", sa.Double(), nullable=True, comment="of the start structure, this model's own scale"
        ),
        sa.Column("energy_final_ev", sa.Double(), nullable=True, comment="of the final state, this model's own scale"),
        sa.Column(
            "reference_energy_ev", sa.Double(), nullable=True, comment="of the final state under benchmark.reference_id"
        ),
        sa.Column(
            "fmax_ev_per_ang", sa.Double(), nullable=True, comment="length of the largest force of the final state"
        ),
        sa.Column(
            "cell_fmax_ev_per_ang",
            sa.Double(),
            nullable=True,
            comment="largest row of V·stress/n_atoms of the final state",
        ),
        sa.Column("lattice_ang", sa.ARRAY(sa.Double(), dimensions=2), nullable=True, comment="final cell, 3 x 3, Å"),
        sa.Column(
            "positions_ang",
            sa.ARRAY(sa.Double(), dimensions=2),
            nullable=True,
            comment="final positions, n_atoms x 3, not wrapped, Å",
        ),
        sa.Column(
            "stress_ev_per_ang3",
            sa.ARRAY(sa.Double(), dimensions=2),
            nullable=True,
            comment="final stress, 3 x 3, eV/Å³",
        ),
        sa.Column(
            "displacement_rmsd_ang",
            sa.Double(),
            nullable=True,
            comment="from the target: minimum image, drift removed, Å",
        ),
        sa.Column(
            "volume_change_fraction",
            sa.Double(),
            nullable=True,
            comment="final over target (or start) volume, minus one",
        ),
        sa.Column(
            "energy_above_unrattled_ev_per_atom",
            sa.Double(),
            nullable=True,
            comment="above the same model's relaxed unrattled cell",
        ),
        sa.Column("energies_ev", sa.ARRAY(sa.Double()), nullable=False, comment="one value a force call"),
        sa.Column("fmaxes_ev_per_ang", sa.ARRAY(sa.Double()), nullable=False, comment="one value a force call"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluation.id"],
            name=op.f("fk_relaxation_evaluation_id_evaluation"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "case_index", name=op.f("pk_relaxation")),
        comment="relaxations of a benchmark's start structures, judged on the final state",
    )
    op.create_foreign_key(
        op.f("fk_model_version_training_run_id_training_run"),
        "model_version",
        "training_run",
        ["training_run_id"],
        ["id"],
    )
    op.execute(LEADERBOARD)


def downgrade() -> None:
    op.execute("drop view leaderboard")
    op.drop_constraint(op.f("fk_model_version_training_run_id_training_run"), "model_version")
    op.drop_table("relaxation")
    op.drop_index(op.f("ix_prediction_structure_id"), table_name="prediction")
    op.drop_table("prediction")
    op.drop_table("metric")
    op.drop_index(op.f("ix_comparison_candidate_id"), table_name="comparison")
    op.drop_table("comparison")
    op.drop_index(op.f("ix_evaluation_benchmark_id"), table_name="evaluation")
    op.drop_table("evaluation")
    op.drop_table("epoch_metric")
    op.drop_index(op.f("ix_benchmark_case_structure_id"), table_name="benchmark_case")
    op.drop_table("benchmark_case")
    op.drop_index(op.f("ix_training_run_dataset_id"), table_name="training_run")
    op.drop_table("training_run")
    op.drop_table("benchmark")
    op.drop_table("model_version")
    op.drop_table("dataset_rejection")
    op.drop_index(op.f("ix_dataset_member_structure_id"), table_name="dataset_member")
    op.drop_table("dataset_member")
    op.drop_index(op.f("ix_structure_immutable_id"), table_name="structure")
    op.drop_index(op.f("ix_structure_formula_reduced"), table_name="structure")
    op.drop_index(op.f("ix_structure_elements"), table_name="structure", postgresql_using="gin")
    op.drop_index(op.f("ix_structure_chemical_system"), table_name="structure")
    op.drop_table("structure")
    op.drop_table("report")
    op.drop_table("dataset")
