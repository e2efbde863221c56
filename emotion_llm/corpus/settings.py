"""Settings of launch/prepare.py.

command line  ->  PrepareSettings
"""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field
from pydantic.dataclasses import dataclass

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.motion.canonical import CanonicalSettings, MetresPerUnit
from emotion_llm.motion.table import TableColumns
from emotion_llm.runtime.validation import STRICT


@dataclass(frozen=True, config=STRICT)
class PrepareSettings:
    """What to import, from where, to where."""

    corpus: str = ""  # A corpus that ships (--list names them), or the path of your own corpus definition (*.json)
    source: Path | None = None  # The folder that holds the corpus's files, as its owners distribute them
    output: Path = Path("data")  # Corpora are written to OUTPUT/<name>, their TensorBoard pages to OUTPUT/tensorboard
    canonical: CanonicalSettings = Field(default_factory=CanonicalSettings)
    """What a model sees of a motion; the same for all corpora that are trained on together."""
    workers: Annotated[int, Field(ge=0)] = 0  # Processes that read files; 0: one per core. The result is the same.
    html: Path | None = None  # Folder for a page of every clip with a 3D player, and an index of them; open HTML/index.html
    narrate: bool = False
    """Generate descriptions from measured movement for clips that have none; without --source, of a corpus that is prepared already
    (ours; they are marked as generated)."""
    split: SplitSettings = Field(default_factory=SplitSettings)
    """With --narrate: the split whose training clips say what is usual. It must be the encoder's."""
    check: bool = False  # Read and report, write nothing
    list: bool = False  # Print the known corpora and layouts
    infer_layout: Annotated[Path | None, tyro.conf.arg(aliases=("--draw-layout",))] = None
    """Infer a layout from this motion file, to be checked and used in a corpus definition of your own."""
    layout_file: Path = Path("layout.json")  # Where the inferred layout is written
    metres_per_unit: MetresPerUnit | None = None
    """Of the motion file that a layout is inferred from; by default the unit that makes arms and legs human. (A corpus's definition has
    its own.)"""
    columns: TableColumns = Field(default_factory=TableColumns)
    """Of the table or array that a layout is inferred from. (A corpus's definition has its own.)"""
    synthetic_clips_per_emotion: Annotated[int, Field(ge=0)] = 0
    """Above 0: three synthetic corpora with so many clips are written to OUTPUT/raw and imported, instead of `source` (our choice)."""
    seed: Annotated[int, Field(ge=0)] = 0  # Of the synthetic corpora, and of the wording of generated descriptions


PRESETS = {"default": PrepareSettings(), "demo": PrepareSettings(output=Path("data/demo"), synthetic_clips_per_emotion=24, narrate=True)}
