"""Mutation testing: small errors are put into the code, one at a time, and the tests named beside them must fail.

    python -m tests.mutation                   all mutants of tests/mutants.py
    python -m tests.mutation splits windows    those of files whose path contains one of the words

Works on a temporary copy of the repository. A test run that takes longer than TIMEOUT counts as killed. Prints the survivors; the exit
status is 1 where fewer than 90 % are killed or where the tests fail without a mutant.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants import MUTANTS

ROOT = Path(__file__).parents[1]
TIMEOUT = 300
"""Seconds."""
LEAST_KILLED = 0.9


def main(words: list[str]) -> int:
    groups = [group for group in MUTANTS if not words or any(word in group[0] for word in words)]
    killed, survivors = 0, []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repository"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "data", "models", "runs", "__pycache__"))
        for file, tests, mutants in groups:
            if not passes(copy, tests):
                print(f"{tests}: fails without a mutant")
                return 1
            original = (copy / file).read_text(encoding="utf-8")
            for old, new in mutants:
                (copy / file).write_text(original.replace(old, new), encoding="utf-8")
                survived = passes(copy, tests)
                killed += not survived
                survivors += [f"{file}: {old!r} -> {new!r}"] if survived else []
                print(f"{'SURVIVED' if survived else 'killed  '} {file}: {old!r} -> {new!r}", flush=True)
            (copy / file).write_text(original, encoding="utf-8")
    total = killed + len(survivors)
    print("\n".join([f"{killed} of {total} killed ({killed / max(1, total):.0%})", *survivors]))
    return int(killed < LEAST_KILLED * total)


def passes(copy: Path, tests: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=TIMEOUT, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
