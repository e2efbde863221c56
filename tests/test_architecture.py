"""Packages import in the order in which data moves: never upward, never in a circle."""

import ast
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = (
    "runtime", "motion", "kinematics", "corpus", "grounding", "skeleton_encoder", "pretraining", "skeleton_tokens", "language", "training",
    "inference", "evaluation", "streaming", "report", "synthetic", "benchmarks", "launch",
)  # fmt: skip
"""Each package imports only from those before it, and from itself."""
FILES = sorted([*(ROOT / "emotion_llm").rglob("*.py"), *(ROOT / "launch").glob("*.py")])


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in FILES}


def imported_modules(file: Path) -> Iterator[str]:
    """Modules of this repository that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in submodules]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in ("emotion_llm", "launch"))


def package(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] == "launch" else parts[1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_upward_import(file):
    if module_name(file) == "emotion_llm":
        return  # the public interface, which reaches into every package
    own = ORDER.index(package(module_name(file)))
    upward = [name for name in imported_modules(file) if name != "emotion_llm" and ORDER.index(package(name)) > own]
    assert not upward


def test_no_import_cycle():
    graph = {name: set(imported_modules(file)) - {name, "emotion_llm"} for name, file in MODULES.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError and names the cycle


def test_an_installation_holds_everything_that_scripts_import():
    """Scripts find `launch`, which some of them import, by the installed package: their own folder is not on Python's path as a package."""
    find = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]["find"]
    wanted = {name.split(".")[0] for file in (ROOT / "launch").glob("*.py") for name in imported_modules(file)}
    assert wanted == {"emotion_llm", "launch"}
    assert all(any(fnmatch(name, pattern) for pattern in find["include"]) for name in wanted)
