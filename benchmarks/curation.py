"""How fast and in how little memory curation scans LeMat-Bulk, as ratios measured in one run.

    python benchmarks/curation.py [--rows DIR] [--n-rows 300000] [--rounds 5]

Builds rows in LeMat-Bulk's schema from those of DIR (default: `../shared/data/lemat_like`, else the bundled sample),
2 % of them with five or more elements, and reads them in four ways, in turn, several rounds:

- `scan`: heo_core.curation.scan, every rule checked and the kept rows written down;
- `polars`: bare `polars.scan_parquet` with the same first filter and columns, no rules;
- `datasets`: `datasets` streaming with the same filter and columns, no rules;
- `origin`: every column, in polars batches of 1,024, as the project before this one did.

Ratios are of each way's fastest round. Peak memory is that of a process of its own, for N rows and for ten times N.
The last line is one JSON object: {"ratios": {...}, "figures": {...}}.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from heo_core.assets import SAMPLE_DIR
from heo_core.curation import open_source
from heo_core.curation.lemat import FINGERPRINT_COLUMNS
from heo_core.curation.rows import ROW_SCHEMA
from heo_core.curation.scan import scan_source
from heo_core.params import CurationParams

SHARED_ROWS = Path(__file__).parents[2] / "shared" / "data" / "lemat_like"
MIN_ELEMENTS = 5
SHARE_OF_MANY = 0.02
# LeMat-Bulk's shards hold about this many rows.
ROWS_PER_FILE = 300_000
# As pyarrow writes a file of this size; --rows-per-group tries other layouts.
ROWS_PER_GROUP = ROWS_PER_FILE
COLUMNS = [*(name for name in ROW_SCHEMA.names if name not in {"fingerprint", "source"}), FINGERPRINT_COLUMNS[0]]


def build_rows(rows: Path, folder: Path, n_rows: int, rows_per_group: int) -> None:
    """Write n_rows rows, drawn from those of a folder, with ids and fingerprints of their own."""
    table = pa.concat_tables([pq.read_table(file) for file in sorted(rows.glob("*.parquet"))])
    is_many = pc.greater_equal(table["nelements"], MIN_ELEMENTS)
    few, many = table.filter(pc.invert(is_many)), table.filter(is_many)
    both = pa.concat_tables([few, many]).combine_chunks()
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for begin in range(0, n_rows, ROWS_PER_FILE):
        with pq.ParquetWriter(folder / f"train-{begin // ROWS_PER_FILE:05}.parquet", both.schema) as writer:
            for start in range(begin, min(begin + ROWS_PER_FILE, n_rows), rows_per_group):
                size = min(rows_per_group, n_rows - start)
                chosen = np.where(
                    rng.random(size) < SHARE_OF_MANY,
                    len(few) + rng.integers(0, len(many), size),
                    rng.integers(0, len(few), size),
                )
                group = both.take(pa.array(chosen))
                for column, prefix in (("immutable_id", "mp-"), (FINGERPRINT_COLUMNS[0], "f")):
                    values = pa.array([f"{prefix}{i}" for i in range(start, start + size)])
                    group = group.set_column(group.column_names.index(column), column, values)
                writer.write_table(group, row_group_size=rows_per_group)


def scan(folder: Path) -> int:
    """Scan and check every rule; return the rows of five or more elements."""
    params = CurationParams(name="benchmark", source=str(folder))
    with tempfile.TemporaryDirectory() as work:
        shards = scan_source(SOURCES[folder], params.rules, Path(work))
    return sum(shard.n_rows - shard.tally.counts["too_few_elements"] for shard in shards)


def scan_with_polars(folder: Path) -> int:
    """Read the same columns behind the same first filter."""
    import polars as pl

    lazy = pl.scan_parquet(folder / "*.parquet").filter(pl.col("nelements") >= MIN_ELEMENTS)
    return lazy.select(COLUMNS).collect().height


def scan_with_datasets(folder: Path) -> int:
    """Read the same through `datasets`, which decodes whole row groups."""
    from datasets import load_dataset

    rows = load_dataset(
        "parquet",
        data_files=str(folder / "*.parquet"),
        split="train",
        streaming=True,
        columns=COLUMNS,
        filters=pc.field("nelements") >= MIN_ELEMENTS,
    )
    return sum(len(table) for table in rows.with_format("arrow").iter(batch_size=8192))


def scan_as_the_origin(folder: Path) -> int:
    """Read every column in polars batches of 1,024 and filter then."""
    import polars as pl
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=str(folder / "*.parquet"), split="train", streaming=True)
    batches = rows.with_format("polars").iter(batch_size=1024)
    return sum(batch.filter(pl.col("nelements") >= MIN_ELEMENTS).height for batch in batches)


WAYS: dict[str, Callable[[Path], int]] = {
    "scan": scan,
    "polars": scan_with_polars,
    "datasets": scan_with_datasets,
    "origin": scan_as_the_origin,
}
SOURCES = {}


def time_ways(folder: Path, rounds: int) -> dict[str, float]:
    """Return the fastest round of each way, s."""
    SOURCES[folder] = open_source(CurationParams(name="benchmark", source=str(folder)))
    found = {name: way(folder) for name, way in WAYS.items()}  # the first round pays for imports
    if len(set(found.values())) != 1:
        raise SystemExit(f"the ways do not agree on the rows with {MIN_ELEMENTS} elements: {found}")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            begin = time.perf_counter()
            way(folder)
            seconds[name].append(time.perf_counter() - begin)
    return {name: min(values) for name, values in seconds.items()}


def measure_peak_mb(folder: Path) -> float:
    """Peak memory, MB, of a process that curates a folder: scan, duplicates, split, and every member read."""
    command = [sys.executable, __file__, "--peak", str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_peak(folder: Path) -> None:
    """Curate a folder and print this process's peak memory, MB."""
    from heo_core.curation import curate

    params = CurationParams(name="benchmark", source=str(folder))
    curated = curate(open_source(params), params)
    n_members = sum(1 for _ in curated.iter_members())
    # Not getrusage: what it tells survives exec, so that a child never has less than its parent had.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(n_members, int(status["VmHWM"].split()[0]) / 1024)


def main() -> None:
    """Build rows, measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=SHARED_ROWS if SHARED_ROWS.exists() else SAMPLE_DIR)
    parser.add_argument("--n-rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows-per-group", type=int, default=ROWS_PER_GROUP, help="rows of a parquet row group")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print_peak(args.peak)
        return
    with tempfile.TemporaryDirectory() as work:
        small, large = Path(work) / "small", Path(work) / "large"
        build_rows(args.rows, small, args.n_rows, args.rows_per_group)
        seconds = time_ways(small, args.rounds)
        build_rows(args.rows, large, 10 * args.n_rows, args.rows_per_group)
        peaks = {str(args.n_rows): measure_peak_mb(small), str(10 * args.n_rows): measure_peak_mb(large)}
    print(f"{args.n_rows} rows, row groups of {args.rows_per_group}; fastest of {args.rounds} rounds")
    for name, value in seconds.items():
        print(f"  {name:<9} {value:7.3f} s  {args.n_rows / value:12,.0f} rows/s")
    for rows, peak in peaks.items():
        print(f"  peak memory of curating {rows} rows: {peak:.0f} MB")
    small_peak, large_peak = peaks.values()
    ratios = {
        "scan_time_over_polars": {"value": seconds["scan"] / seconds["polars"], "bar": 1.5, "better": "lower"},
        "origin_time_over_scan": {"value": seconds["origin"] / seconds["scan"], "bar": 10.0, "better": "higher"},
        "peak_memory_of_ten_times_the_rows": {"value": large_peak / small_peak, "bar": 1.5, "better": "lower"},
        "peak_memory_over_1_gb": {"value": large_peak / 1000.0, "bar": 1.0, "better": "lower"},
    }
    print(json.dumps({"ratios": ratios, "figures": {"seconds": seconds, "peak_mb": peaks, "n_rows": args.n_rows}}))


if __name__ == "__main__":
    main()
