"""The notebook runs from its first cell to its last, and draws."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"


def test_the_notebook_is_stored_without_output():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
def test_the_notebook_goes_from_a_motion_file_to_pictures(small_world, description_run, tmp_path, monkeypatch):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    clip = sorted((small_world.raw / "emilya").rglob("*.bvh"))[0]
    parameters.source = f"RUN = {str(description_run)!r}\nCLIP = {str(clip)!r}"
    kernels = tmp_path / "jupyter"  # this Python, whatever kernels the machine has
    install = [sys.executable, "-m", "ipykernel", "install", "--prefix", str(kernels), "--name", "python3"]
    subprocess.run(install, check=True, capture_output=True)
    monkeypatch.setenv("JUPYTER_PATH", str(kernels / "share" / "jupyter"))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}, env=dict(os.environ)).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    printed = "".join(output.get("text", "") for output in outputs)
    assert f"{clip}: " in printed
    assert "no such motion file" in printed
