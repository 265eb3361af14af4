"""What saved figures and tables are called."""

from __future__ import annotations

from heo_core.reporting.file_names import name_files
from heo_core.reporting.sections.benchmark_titles import make_key


def test_a_file_has_the_words_of_its_key_and_no_code_of_a_sign():
    key = f"force-parity-{make_key('dft-offeq@1')}-{make_key('heo-mini@1')}"
    assert name_files([key]) == {key: "force-parity-dft-offeq-1-heo-mini-1"}
    key = f"structures-{make_key('energy-forces:sample:test@12')}"
    assert name_files([key]) == {key: "structures-energy-forces-sample-test-12"}


def test_no_two_files_have_one_name_whatever_the_case_of_their_letters():
    keys = [make_key(name) for name in ("a@1", "a:1", "A@1", "a-1-2", "@", "")]
    assert list(name_files(keys).values()) == ["a-1", "a-1-2", "A-1-3", "a-1-2-2", "figure", "figure-2"]
