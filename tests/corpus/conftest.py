"""Small corpora for the tests, made without reading a motion file, and a small source to import."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from emotion_llm.corpus import reading as clip_reading
from emotion_llm.corpus.store import Corpus
from emotion_llm.motion.layout import read_layout
from emotion_llm.synthetic.corpora import write_egbm
from tests.helpers.corpora import write_clips
from tests.helpers.import_examples import content, run


@pytest.fixture
def make_corpus(tmp_path):
    """make_corpus(clips) -> Corpus; clips: (name, emotion, actor, positions or None, action or nothing) each."""

    def make(clips: list[tuple], name: str = "toy") -> Corpus:
        layout, rng = read_layout("kinect_v2_25"), np.random.default_rng(0)
        tracks = [rng.normal(size=(3, layout.joints, 3)) if clip[3] is None else clip[3] for clip in clips]
        written = [(*clip[:3], clip[4] if len(clip) > 4 else None, track) for clip, track in zip(clips, tracks, strict=True)]
        return write_clips(tmp_path / name, layout, written, tuple(dict.fromkeys(clip[1] for clip in clips)))

    return make


@pytest.fixture
def corpus(make_corpus):
    return make_corpus([("a/1", "anger", "Ann", None), ("a/2", "joy", None, None), ("a/3", "joy", "Bob", None)])


@pytest.fixture
def write_files(tmp_path):
    """write_files("folder", {"relative/path": "text"}) -> the folder."""

    def write(folder: str, files: dict[str, str]) -> Path:
        for path, text in files.items():
            target = tmp_path / folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        return tmp_path / folder

    return write


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_egbm(folder, clips_per_emotion=2, seed=0)
    rows = [f"{path.name},The arms are raised in {path.stem}." for path in sorted(folder.glob("*.csv"))[:5]]
    (folder / "descriptions.csv").write_text("\n".join(["file,text", *rows]) + "\n")
    return folder


@pytest.fixture
def source(written, tmp_path) -> Path:
    """A copy of 14 motion files and their descriptions, to be spoiled at will."""
    return Path(shutil.copytree(written, tmp_path / "source"))


@pytest.fixture(scope="session")
def whole(written, tmp_path_factory) -> dict[str, bytes]:
    """Every file of the corpus that an unbroken import makes, but for the times of the source files."""
    output = tmp_path_factory.mktemp("whole")
    run(written, output)
    return content(output / "egbm")


@pytest.fixture
def files_read(monkeypatch) -> list[str]:
    """Grows by each file that is read, as long as one process does it all."""
    read, really = [], clip_reading.read_clip
    monkeypatch.setattr(clip_reading, "read_clip", lambda source, file, settings: read.append(file.path) or really(source, file, settings))
    return read
