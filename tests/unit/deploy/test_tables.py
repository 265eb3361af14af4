import csv

from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.cli.tables import print_csv


def test_csv_reads_back_with_lists_as_one_field(capsys):
    print_csv(
        [
            {"formula": "MgO", "energy": -6.5, "datasets": ["a@1", "b@2"]},
            {"formula": 'x",y', "energy": None, "datasets": []},
        ]
    )
    assert list(csv.reader(capsys.readouterr().out.splitlines())) == [
        ["formula", "energy", "datasets"],
        ["MgO", "-6.5", "a@1,b@2"],
        ['x",y', "", ""],
    ]


def test_a_search_is_printed_in_one_form():
    result = CliRunner().invoke(app, ["structures", "find", "--csv", "--json"])
    assert result.exit_code == 2
    assert "exclude each other" in result.output
