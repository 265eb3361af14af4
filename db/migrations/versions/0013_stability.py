"""studies of stability: mixtures of cations against oxides of one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


# As the file of db/views was then: what a migration does never changes.
_VIEW = """\
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
"""


def upgrade() -> None:
    json, text, texts = postgresql.JSONB(astext_type=sa.Text()), sa.Text(), sa.ARRAY(sa.Text())
    double: sa.Double[float] = sa.Double()
    rows: sa.ARRAY[float] = sa.ARRAY(sa.Double(), dimensions=2)
    op.create_table(
        "stability_study",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("key", text, nullable=False, comment="sha256 of params and model"),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False, comment="model that relaxes them"),
        sa.Column("params", json, nullable=False, comment="StabilityParams, but for which mixtures and how many cells"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_stability_study_model_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stability_study")),
        sa.UniqueConstraint("key", name=op.f("uq_stability_study_key")),
        comment="cells of mixtures that are made and relaxed alike, by one model: their energies can be compared",
    )
    op.create_table(
        "stability_oxide",
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("cation", text, nullable=False, comment="symbol"),
        sa.Column("polymorph", text, nullable=False, comment="crystal that it was relaxed from"),
        sa.Column("energy_ev_per_atom", double, nullable=True, comment="relaxed; null where failure says why"),
        sa.Column("failure", text, nullable=True, comment="why there is no energy"),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["stability_study.id"],
            name=op.f("fk_stability_oxide_study_id_stability_study"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_id", "cation", "polymorph", name=op.f("pk_stability_oxide")),
        comment="oxides of single cations, relaxed like the mixtures that they compete with",
    )
    op.create_table(
        "stability_cell",
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("composition", text, nullable=False, comment="stability_composition.composition"),
        sa.Column("number", sa.Integer(), nullable=False, comment="1, 2, ..."),
        sa.Column(
            "converged", sa.Boolean(), nullable=False, comment="forces and stress of the final state are below fmax"
        ),
        sa.Column("failure", text, nullable=True, comment="why it did not converge, or was not made"),
        sa.Column("energy_ev_per_atom", double, nullable=True, comment="of the final state, the model's own scale"),
        sa.Column(
            "bond_spread_ang",
            double,
            nullable=True,
            comment="standard deviation of the lengths of all nearest cation-oxygen bonds of the mixed sublattice",
        ),
        sa.Column("volume_per_atom_ang3", double, nullable=True, comment="of the final state"),
        sa.Column("force_calls", sa.Integer(), nullable=False, comment="evaluations of the model"),
        sa.Column("wall_s", double, nullable=False, comment="seconds"),
        sa.Column("species", texts, nullable=False, comment="one symbol an atom"),
        sa.Column("lattice_ang", rows, nullable=True, comment="final cell, 3 x 3, Å"),
        sa.Column("positions_ang", rows, nullable=True, comment="final positions, n_atoms x 3, Å"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["stability_study.id"],
            name=op.f("fk_stability_cell_study_id_stability_study"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_id", "composition", "number", name=op.f("pk_stability_cell")),
        comment="cells of mixtures, each in another order of the cations, relaxed",
    )
    op.create_table(
        "stability_composition",
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "reference_set",
            text,
            nullable=False,
            comment="oxides that the enthalpy counts from: ground-states, end-members or almishal-2025",
        ),
        sa.Column("composition", text, nullable=False, comment="cations in equal shares, by atomic number: MgCoNiCuZn"),
        sa.Column("cations", texts, nullable=False, comment="symbols"),
        sa.Column("references", json, nullable=False, comment="crystal, or published set, of the oxide of each cation"),
        sa.Column("n_cells", sa.Integer(), nullable=False, comment="cells relaxed, failed ones included"),
        sa.Column("n_converged", sa.Integer(), nullable=False, comment="cells that the means are over"),
        sa.Column("mixing_enthalpy_ev_per_atom", double, nullable=True, comment="above the oxides of reference_set"),
        sa.Column(
            "mixing_enthalpy_sem_ev_per_atom",
            double,
            nullable=True,
            comment="standard error over cells; null for fewer than two",
        ),
        sa.Column("mixing_enthalpy_ev_per_cation", double, nullable=True, comment="the same per mixed site"),
        sa.Column("bond_spread_ang", double, nullable=True, comment="mean of stability_cell.bond_spread_ang"),
        sa.Column("bond_spread_sem_ang", double, nullable=True, comment="standard error over cells"),
        sa.Column("radius_mismatch_percent", double, nullable=True, comment="spread of Shannon's radii, delta, %"),
        sa.Column("entropy_r", double, nullable=False, comment="configurational entropy per mixed site, in R"),
        sa.Column(
            "mixing_temperature_k",
            double,
            nullable=True,
            comment="enthalpy over entropy, K: against these oxides alone, other solid solutions are not counted",
        ),
        sa.Column(
            "decomposition_energy_ev_per_atom",
            double,
            nullable=True,
            comment="above the lowest oxides of single cations that the model itself relaxed",
        ),
        sa.Column("decomposition", text, nullable=True, comment="these oxides"),
        sa.Column("failure", text, nullable=True, comment="why a number is missing, or cells are"),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["stability_study.id"],
            name=op.f("fk_stability_composition_study_id_stability_study"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_id", "reference_set", "composition", name=op.f("pk_stability_composition")),
        comment="mixtures against a named set of oxides; means over converged cells",
    )
    op.execute(_VIEW)
    op.execute(
        "do $$ begin if exists (select from pg_roles where rolname = 'heo_reader') then "
        "grant select on stability_map to heo_reader; end if; end $$"
    )


def downgrade() -> None:
    op.execute("drop view stability_map")
    for table in ("stability_composition", "stability_cell", "stability_oxide", "stability_study"):
        op.drop_table(table)
