"""curation at full size."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As db/views/dataset_structure.sql was then: what a migration does never changes.
DATASET_STRUCTURE = """
create view dataset_structure as
select
    dataset.name || '@' || dataset.version as dataset,
    dataset_member.split,
    structure.id as structure_id,
    structure.immutable_id,
    structure.source,
    structure.functional,
    structure.formula_reduced,
    structure.chemical_system,
    structure.elements,
    structure.n_elements,
    structure.n_atoms,
    structure.volume_per_atom_ang3,
    structure.energy_ev / structure.n_atoms as energy_ev_per_atom,
    structure.fmax_ev_per_ang,
    descriptor.n_cations,
    descriptor.cation_fractions,
    descriptor.entropy_pooled_r,
    descriptor.entropy_sublattice_r,
    descriptor.entropy_per_formula_r,
    descriptor.equimolarity_deviation,
    descriptor.radius_mismatch_percent,
    descriptor.electronegativity_spread,
    descriptor.space_group_number,
    descriptor.space_group_symbol,
    descriptor.prototype,
    descriptor.parent_space_group_number
from dataset
join dataset_member on dataset_member.dataset_id = dataset.id
join structure on structure.id = dataset_member.structure_id
left join descriptor on descriptor.structure_id = structure.id;

comment on view dataset_structure is 'every structure of every dataset with its split and descriptors, one row a structure';
comment on column dataset_structure.dataset is 'NAME@VERSION';
comment on column dataset_structure.split is 'train, validation, test or off_equilibrium';
comment on column dataset_structure.energy_ev_per_atom is 'reference energy per atom, eV, uncorrected';
comment on column dataset_structure.cation_fractions is 'share of each cation, for example cation_fractions ->> ''Co''';
comment on column dataset_structure.entropy_pooled_r is 'configurational entropy per cation, all pooled, in R';
comment on column dataset_structure.entropy_sublattice_r is 'the same per site of the most disordered cation sublattice, in R';
comment on column dataset_structure.prototype is 'parent crystal, where it is a known one';
"""


def upgrade() -> None:
    op.create_table(
        "dataset_leak",
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="formula, chemical_system or fingerprint"),
        sa.Column("split", sa.Text(), nullable=False, comment="train or validation"),
        sa.Column("other_split", sa.Text(), nullable=False, comment="validation or test"),
        sa.Column(
            "n_shared", sa.BigInteger(), nullable=False, comment="formulas, systems or fingerprints that stand in both"
        ),
        sa.Column(
            "n_structures", sa.BigInteger(), nullable=False, comment="structures of other_split that have one of them"
        ),
        sa.Column("examples", sa.ARRAY(sa.Text()), nullable=False, comment="a few of those shared"),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name=op.f("fk_dataset_leak_dataset_id_dataset"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_id", "kind", "split", "other_split", name=op.f("pk_dataset_leak")),
        comment="what two splits of a dataset share, measured for every pair; 0 where it is nothing",
    )
    op.create_table(
        "dataset_map",
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False, comment="umap or pca"),
        sa.Column("x", sa.Double(), nullable=False, comment="no unit"),
        sa.Column("y", sa.Double(), nullable=False, comment="no unit"),
        sa.Column(
            "embedding",
            sa.ARRAY(sa.Double()),
            nullable=False,
            comment="mean magpie vector of the cations, standardised over the dataset",
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name=op.f("fk_dataset_map_dataset_id_dataset"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["structure_id"], ["structure.id"], name=op.f("fk_dataset_map_structure_id_structure")),
        sa.PrimaryKeyConstraint("dataset_id", "structure_id", "method", name=op.f("pk_dataset_map")),
        comment="each structure's mean element embedding, and its place in a picture in two dimensions",
    )
    op.create_index(op.f("ix_dataset_map_structure_id"), "dataset_map", ["structure_id"], unique=False)
    op.create_table(
        "descriptor",
        sa.Column("structure_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "cation_fractions",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="share of each cation, all sites pooled",
        ),
        sa.Column("n_cations", sa.Integer(), nullable=False, comment="different cations"),
        sa.Column(
            "entropy_pooled_r",
            sa.Double(),
            nullable=False,
            comment="configurational entropy per cation, all pooled, in R",
        ),
        sa.Column(
            "entropy_sublattice_r",
            sa.Double(),
            nullable=False,
            comment="the same per site of the most disordered cation sublattice, in R",
        ),
        sa.Column(
            "entropy_per_formula_r",
            sa.Double(),
            nullable=True,
            comment="sum over cation sublattices, per formula unit of the parent crystal, in R",
        ),
        sa.Column(
            "equimolarity_deviation",
            sa.Double(),
            nullable=False,
            comment="largest departure of a cation's share from 1/n",
        ),
        sa.Column("radius_mismatch_percent", sa.Double(), nullable=True, comment="spread of Shannon's radii, delta, %"),
        sa.Column(
            "electronegativity_spread", sa.Double(), nullable=True, comment="standard deviation, Pauling's scale"
        ),
        sa.Column("space_group_number", sa.Integer(), nullable=True, comment="of the cell as it is, symprec 0.01 Å"),
        sa.Column("space_group_symbol", sa.Text(), nullable=True, comment="Hermann-Mauguin symbol"),
        sa.Column("prototype", sa.Text(), nullable=True, comment="parent crystal, where it is a known one"),
        sa.Column(
            "parent_space_group_number", sa.Integer(), nullable=True, comment="of the cell with all cations made alike"
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structure.id"], name=op.f("fk_descriptor_structure_id_structure"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("structure_id", name=op.f("pk_descriptor")),
        comment="composition and symmetry of a structure; how each is defined: docs/curation.md",
    )
    op.add_column(
        "dataset_member",
        sa.Column(
            "parent_id", sa.BigInteger(), nullable=True, comment="structure that an off-equilibrium copy was made from"
        ),
    )
    op.add_column(
        "dataset_member",
        sa.Column(
            "recipe",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="how such a copy was made, seed included",
        ),
    )
    op.alter_column(
        "dataset_member",
        "split",
        existing_type=sa.TEXT(),
        comment="train, validation, test, or off_equilibrium: copies without labels",
        existing_comment="train, validation or test",
        existing_nullable=False,
    )
    op.create_foreign_key(
        op.f("fk_dataset_member_parent_id_structure"), "dataset_member", "structure", ["parent_id"], ["id"]
    )
    op.drop_constraint(op.f("ck_dataset_member_split"), "dataset_member")
    op.create_check_constraint(
        op.f("ck_dataset_member_split"), "dataset_member", "split in ('train', 'validation', 'test', 'off_equilibrium')"
    )
    op.execute(DATASET_STRUCTURE)


def downgrade() -> None:
    op.execute("drop view dataset_structure")
    op.execute("delete from dataset_member where split = 'off_equilibrium'")
    op.drop_constraint(op.f("ck_dataset_member_split"), "dataset_member")
    op.create_check_constraint(
        op.f("ck_dataset_member_split"), "dataset_member", "split in ('train', 'validation', 'test')"
    )
    op.drop_constraint(op.f("fk_dataset_member_parent_id_structure"), "dataset_member", type_="foreignkey")
    op.alter_column(
        "dataset_member",
        "split",
        existing_type=sa.TEXT(),
        comment="train, validation or test",
        existing_comment="train, validation, test, or off_equilibrium: copies without labels",
        existing_nullable=False,
    )
    op.drop_column("dataset_member", "recipe")
    op.drop_column("dataset_member", "parent_id")
    op.drop_table("descriptor")
    op.drop_index(op.f("ix_dataset_map_structure_id"), table_name="dataset_map")
    op.drop_table("dataset_map")
    op.drop_table("dataset_leak")
