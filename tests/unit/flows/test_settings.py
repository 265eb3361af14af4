import sys

from flows.settings import Settings


def test_the_interpreter_of_an_environment_stays_the_link_that_makes_it_one(tmp_path, monkeypatch):
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEO_DFT_PYTHON", "python")
    assert Settings().dft_interpreter == tmp_path / "python"
