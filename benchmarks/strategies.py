"""Table and figure of docs/finetuning.md: models of the registry side by side, from the views in SQL.

    python benchmarks/strategies.py PARENT CHILD... --dataset lemat [--out docs/images/strategies.png]

Reads the database that `heo up` started or HEO_DATABASE_URL names, and computes nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from sqlalchemy import text

from db import models
from db.engine import get_engine, session_scope
from db.versions import label
from flows.settings import load_settings

# Column: (benchmark, metric, factor to the unit shown)
COLUMNS = {
    "held-out force MAE, meV/Å": ("energy-forces:{dataset}", "forces_mae_ev_per_ang", 1000),
    "held-out energy RMSE, meV/atom": ("energy-forces:{dataset}", "energy_rmse_ev_per_atom", 1000),
    "held-out energy MAE, meV/atom": ("energy-forces:{dataset}", "energy_mae_ev_per_atom", 1000),
    "off-equilibrium force RMSE, meV/Å": ("off-equilibrium", "forces_rmse_ev_per_ang", 1000),
    "softening slope": ("off-equilibrium", "forces_softening_slope", 1),
    "simple oxides force RMSE, meV/Å": ("forgetting-holdout", "forces_rmse_ev_per_ang", 1000),
    "volume error of binary oxides, %": ("equation-of-state", "equilibrium_volume_mae_fraction", 100),
}
# Of two versions of a benchmark, the newest that a model was evaluated on.
QUERY = """
select distinct on (model, split_part(benchmark, '@', 1), metric)
    model, split_part(benchmark, '@', 1) as benchmark, metric, value
from evaluation_metric
order by model, split_part(benchmark, '@', 1), metric, split_part(benchmark, '@', 2)::integer desc
"""


def load_table(references: list[str], dataset: str) -> pd.DataFrame:
    """One row a model, in the order given, one column a number; empty where a model was not evaluated."""
    url = load_settings().resolve_database_url()
    with session_scope(url) as session:
        labels = [label(models.get_registered_model(session, reference)) for reference in references]
    rows = pd.read_sql(text(QUERY), get_engine(url))
    table = pd.DataFrame(index=pd.Index(labels, name="model"))
    for title, (benchmark, metric, factor) in COLUMNS.items():
        chosen = rows[(rows["benchmark"] == benchmark.format(dataset=dataset)) & (rows["metric"] == metric)]
        table[title] = chosen.set_index("model")["value"] * factor
    return table


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw what a child gains on held-out rows against what it costs off equilibrium, as changes from the parent."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    gain, cost = "held-out force MAE, meV/Å", "off-equilibrium force RMSE, meV/Å"
    change = 100 * (table / table.iloc[0] - 1)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.axhline(0, color="0.7", linewidth=1)
    axes.axvline(0, color="0.7", linewidth=1)
    axes.scatter(change[gain], change[cost], s=60, color="#0072B2", zorder=3)
    for name, row in change.iterrows():
        axes.annotate(str(name), (row[gain], row[cost]), xytext=(0, 9), ha="center", textcoords="offset points")
    axes.set_xlabel("Held-out force MAE, change (%), left is better")
    axes.set_ylabel("Off-equilibrium force RMSE,\nchange (%), down is better")
    axes.margins(0.2)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Print the table as Markdown and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="the parent first")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    table = load_table(args.models, args.dataset)
    print(f"| model | {' | '.join(table.columns)} |\n|{'---|' * (len(table.columns) + 1)}")
    for name, row in table.iterrows():
        print(f"| `{name}` | {' | '.join(f'{value:.3g}' for value in row)} |")
    if args.out:
        plot(table, args.out)


if __name__ == "__main__":
    main()
