"""Motion files become corpora for training.

    python launch/prepare.py --corpus kdae --source DIR --output data       imports DIR to data/kdae
    python launch/prepare.py --corpus mine.json --source DIR                with your own corpus definition
    python launch/prepare.py --corpus kdae --output data --narrate          generated descriptions for a corpus that has none
    python launch/prepare.py --corpus kdae --source DIR --check             reads and reports, writes nothing
    python launch/prepare.py --list                                         the known corpora
    python launch/prepare.py --infer-layout FILE.bvh --layout-file mine.json   a layout from one of your files
    python launch/prepare.py --preset demo                                  three synthetic corpora, written and imported

Exit status: 0 success; 2 nothing was done, one line says why; 3 done, but files were left out because something is wrong with
them, or files are missing (the report names them; files that the definition leaves out on purpose do not count).
"""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from emotion_llm.corpus.definition import CorpusDefinition, known_definitions, read_definition
from emotion_llm.corpus.importing import check_corpus, corpus_locked, import_corpus
from emotion_llm.corpus.report import Report, report_text, write_report
from emotion_llm.corpus.settings import PRESETS, PrepareSettings
from emotion_llm.corpus.store import open_corpus
from emotion_llm.grounding.narration import narrate_corpus
from emotion_llm.motion.infer_layout import infer_layout
from emotion_llm.motion.layout import known_layouts
from emotion_llm.motion.reading import read_motion_file
from emotion_llm.motion.table import TableColumns
from emotion_llm.runtime.console import parse_settings, run, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json
from emotion_llm.runtime.validation import options_of_the_command_line
from emotion_llm.synthetic.corpora import write_synthetic_corpora

SYNTHETIC_CORPORA = ("kdae", "emilya", "egbm")
LEFT_OUT_STATUS = 3


def main() -> None:
    with options_of_the_command_line():
        settings = parse_settings(PRESETS, __doc__)
        settings = replace(settings, workers=settings.workers or len(os.sched_getaffinity(0)))
    if settings.list:
        say(known_corpora())
    elif settings.infer_layout is not None:
        say(write_inferred_layout(settings.infer_layout, settings.layout_file, settings.metres_per_unit, settings.columns))
    elif settings.narrate and settings.corpus and settings.source is None:
        say(narrate(settings.output / read_definition(settings.corpus).name, settings))
    else:
        prepare = check if settings.check else import_with_pictures
        chosen = sources(settings)
        reports = [prepare(definition, source, settings) for definition, source in chosen]
        if settings.html is not None and not settings.check:
            say(f"pages of all clips: {write_pages(settings, [definition.name for definition, _ in chosen])}")
        sys.exit(LEFT_OUT_STATUS if any(report.faults for report in reports) else 0)


def known_corpora() -> str:
    """The corpora and layouts that ship."""
    definitions = [read_definition(name) for name in known_definitions()]
    width = max(len(definition.name) for definition in definitions)
    lines = [f"{definition.name:{width}}  {definition.title}\n{'':{width}}  from {definition.source}" for definition in definitions]
    return "\n".join([*lines, "", f"layouts: {', '.join(known_layouts())}"])


def write_inferred_layout(motion_file: Path, layout_file: Path, metres_per_unit: float | None, columns: TableColumns) -> str:
    """Writes a layout inferred from a motion file; returns what to check and what is left open.

    Raises:
        UserError: the motion file cannot be read, its body is not human in that unit, or the layout file exists already.
    """
    if layout_file.exists():
        raise UserError(f"{layout_file}: exists already; name another file with --layout-file")
    inferred = infer_layout(read_motion_file(motion_file, columns), layout_file.stem, metres_per_unit)
    write_json(layout_file, inferred.draft)
    lines = [f"{layout_file}: {len(inferred.draft['joints'])} joints inferred from {motion_file}"]
    lines += [f"  {note}" for note in inferred.notes]
    if inferred.open:
        lines += ["left open, complete them in the file (layouts/README.md):", *(f"  {item}" for item in inferred.open)]
    return "\n".join([*lines, "then give its path as 'layout' of a corpus definition"])


def sources(settings: PrepareSettings) -> list[tuple[CorpusDefinition, Path]]:
    """The corpora to import, each with its source folder; synthetic ones are written first.

    Raises:
        UserError: no corpus or no source is named, or other files lie where synthetic ones are to be written.
    """
    if settings.synthetic_clips_per_emotion:
        raw = write_synthetic(settings)
        return [(read_definition(name), raw / name) for name in SYNTHETIC_CORPORA]
    if not settings.corpus:
        raise UserError(f"--corpus is missing; name one of {', '.join(known_definitions())}, or the path of your own definition (*.json)")
    if settings.source is None:
        raise UserError(f"--source is missing; name the folder that holds the files of '{settings.corpus}'")
    return [(read_definition(settings.corpus), settings.source)]


def write_synthetic(settings: PrepareSettings) -> Path:
    """Writes the synthetic corpora's raw files and replaces those of an earlier run."""
    raw = settings.output / "raw"
    ours = raw / "synthetic.json"
    if raw.exists() and not ours.is_file():
        raise UserError(f"{raw}: does not hold synthetic corpora; move it away, or choose another --output")
    shutil.rmtree(raw, ignore_errors=True)
    write_json(ours, {"clips_per_emotion": settings.synthetic_clips_per_emotion, "seed": settings.seed})
    say(f"writing synthetic corpora to {raw}")
    write_synthetic_corpora(raw, settings.synthetic_clips_per_emotion, settings.seed)
    return raw


def check(definition: CorpusDefinition, source: Path, settings: PrepareSettings) -> Report:
    """Reads one corpus and prints its report; writes nothing."""
    report = check_corpus(definition, source, settings.canonical, settings.workers)
    say(report_text(report) + "checked; nothing was written")
    return report


def import_with_pictures(definition: CorpusDefinition, source: Path, settings: PrepareSettings) -> Report:
    """Imports one corpus, draws it and prints its report."""
    from emotion_llm.corpus.report_pictures import PICTURES, write_pictures  # matplotlib, which the workers should not import

    imported = import_corpus(definition, source, settings.output, settings.canonical, settings.workers)
    report, folder, board = imported.report, imported.corpus.folder, settings.output / "tensorboard" / definition.name
    if not imported.up_to_date or not board.is_dir() or not all((folder / name).is_file() for name in PICTURES):
        write_pictures(report, imported.corpus, board)
    done = "is up to date; nothing was written" if imported.up_to_date else "is ready"
    if report.faults:
        done += f" (without {report.faults:,} files or rows that need attention: see above)"
    if settings.narrate:
        done += f"; {narrate(folder, settings)}"
    if narrated := open_corpus(folder).narration.get("clips", 0):
        report = replace(report, narrated_clips=narrated)
        write_report(report, folder)
    say(
        f"{report_text(report)}\n{folder} {done}; the report is in {folder / 'report.txt'}, with pictures beside it and in "
        f"tensorboard --logdir {board.parent}"
    )
    return report


def write_pages(settings: PrepareSettings, names: list[str]) -> Path:
    """A page per clip of the imported corpora, and their index, whose path is returned."""
    from emotion_llm.report.folder import write_reports  # what is needed for answers is not needed for an import
    from emotion_llm.report.sources import corpus_clips

    assert settings.html is not None
    return write_reports(
        settings.html, f"Clips of {', '.join(names)}", corpus_clips([open_corpus(settings.output / name) for name in names])
    )


def narrate(folder: Path, settings: PrepareSettings) -> str:
    """Generates descriptions for a prepared corpus; says what was done. Raises UserError: no corpus there, or its clips cannot be split."""
    open_corpus(folder)  # before the lock, which would create the folder's parents
    with corpus_locked(folder):
        corpus = open_corpus(folder)
        clips = narrate_corpus(corpus, settings.split.of(corpus), settings.seed)
    return f"{clips:,} clips have generated descriptions in {folder / 'narration.csv'}, their claims in narration.jsonl"


if __name__ == "__main__":
    run(main)
