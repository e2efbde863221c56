"""The mutants of tests/mutation.py still fit the code."""

import ast

import pytest

from tests.mutants import MUTANTS
from tests.mutation import ROOT


@pytest.mark.parametrize(("file", "tests", "mutants"), MUTANTS, ids=[file for file, _, _ in MUTANTS])
def test_every_mutant_applies_once_and_its_tests_exist(file, tests, mutants):
    code = (ROOT / file).read_text(encoding="utf-8")
    assert all((ROOT / path).exists() for path in tests.split())
    for old, new in mutants:
        assert code.count(old) == 1, old
        ast.parse(code.replace(old, new))


def test_there_are_at_least_a_hundred_mutants():
    assert sum(len(mutants) for _, _, mutants in MUTANTS) >= 100
