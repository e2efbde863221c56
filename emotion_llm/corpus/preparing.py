"""The steps of launch/prepare.py.

PrepareSettings  ->  corpora to import  ->  data/<name>/, what TensorBoard shows of them, Report
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from emotion_llm.corpus.definition import CorpusDefinition, known_definitions, read_definition
from emotion_llm.corpus.importing import PrepareSettings, check_corpus, import_corpus
from emotion_llm.corpus.report import Report, report_text
from emotion_llm.motion.infer_layout import draft_layout
from emotion_llm.motion.layout import known_layouts
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.runtime.console import say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json
from emotion_llm.synthetic.corpora import write_synthetic_corpora

PRESETS = {
    "paper": PrepareSettings(),
    "demo": PrepareSettings(output=Path("data/demo"), synthetic_clips_per_emotion=24),
}
SYNTHETIC_CORPORA = ("kdae", "emilya", "egbm")


def sources_of(settings: PrepareSettings) -> list[tuple[CorpusDefinition, Path]]:
    """The corpora to import, each with its source folder; synthetic ones are written first.

    Raises:
        UserError: no corpus or no source is named, or something else lies where synthetic ones are to be written.
    """
    if settings.synthetic_clips_per_emotion:
        raw = _write_synthetic(settings)
        return [(read_definition(name), raw / name) for name in SYNTHETIC_CORPORA]
    if not settings.corpus:
        raise UserError(f"--corpus is missing; name one of {', '.join(known_definitions())}, or the path of your own definition (*.json)")
    if settings.source is None:
        raise UserError(f"--source is missing; name the folder that holds the files of '{settings.corpus}'")
    return [(read_definition(settings.corpus), settings.source)]


def _write_synthetic(settings: PrepareSettings) -> Path:
    """Writes the synthetic corpora's raw files, in place of those of an earlier run."""
    raw = settings.output / "raw"
    ours = raw / "synthetic.json"
    if raw.exists() and not ours.is_file():
        raise UserError(f"{raw}: holds something else than synthetic corpora; move it away, or choose another --output")
    shutil.rmtree(raw, ignore_errors=True)
    write_json(ours, {"clips_per_emotion": settings.synthetic_clips_per_emotion, "seed": settings.seed})
    say(f"writing synthetic corpora to {raw}")
    write_synthetic_corpora(raw, settings.synthetic_clips_per_emotion, settings.seed)
    return raw


def prepare_corpus(definition: CorpusDefinition, source: Path, settings: PrepareSettings) -> Report:
    """Imports (or checks) one corpus and says what came of it."""
    workers = settings.workers or len(os.sched_getaffinity(0))
    if settings.check:
        report = check_corpus(definition, source, settings.canonical, workers)
        say(report_text(report) + "checked; nothing was written")
        return report
    from emotion_llm.corpus.report_pictures import write_pictures  # brings matplotlib, which every worker would have to load too

    imported = import_corpus(definition, source, settings.output, settings.canonical, workers)
    folder, pictures = imported.corpus.folder, settings.output / "tensorboard" / definition.name
    if not imported.up_to_date or not pictures.is_dir():
        write_pictures(imported.report, imported.corpus, pictures)
    done = "is up to date; nothing was written" if imported.up_to_date else "is ready"
    if imported.report.faults:
        done += f" (without {imported.report.faults:,} files or rows that need a look: see above)"
    say(
        report_text(imported.report)
        + f"\n{folder} {done}; the report is in {folder / 'report.txt'}, pictures: tensorboard --logdir {pictures.parent}"
    )
    return imported.report


def known_corpora_text() -> str:
    """The corpora and layouts that ship, one line each."""
    definitions = [read_definition(name) for name in known_definitions()]
    width = max(len(definition.name) for definition in definitions)
    lines = [f"{definition.name:{width}}  {definition.title}\n{'':{width}}  from {definition.source}" for definition in definitions]
    return "\n".join([*lines, "", f"layouts: {', '.join(known_layouts())}"])


def draw_layout_file(motion_file: Path, layout_file: Path, metres_per_unit: float) -> str:
    """Writes a layout drawn from a motion file; says what is left to do.

    Raises:
        UserError: a motion file that cannot be read or tells no joints, or a layout file that is there already.
    """
    if layout_file.exists():
        raise UserError(f"{layout_file}: is there already; name another file with --layout-file")
    draft, unknown = draft_layout(read_motion_file(motion_file), layout_file.stem, metres_per_unit)
    write_json(layout_file, draft)
    left = f"fill in what its joints' names did not tell, null in the file: {'; '.join(unknown)}" if unknown else "look it through"
    joints = len(draft["joints"])
    return f"{layout_file}: {joints} joints drawn from {motion_file}; {left}, then give its path as 'layout' of a corpus definition"
