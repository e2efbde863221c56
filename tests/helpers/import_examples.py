"""What the tests of importing share: a small source of 14 Kinect tables, and ways to compare what came of it."""

from pathlib import Path

from emotion_llm.corpus import importing
from emotion_llm.corpus.definition import read_definition
from emotion_llm.corpus.importing import import_corpus
from emotion_llm.corpus.store import Corpus, clip_hash, data_hash, movement_hash
from emotion_llm.motion.canonical import CanonicalSettings

EGBM, CANONICAL = read_definition("egbm"), CanonicalSettings()


def run(source: Path, output: Path, workers: int = 1) -> importing.Imported:
    return import_corpus(EGBM, source, output, CANONICAL, workers)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "sources.jsonl"}


def stamps(folder: Path) -> dict[str, tuple]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


def recomputed_hash(corpus: Corpus) -> str:
    """The data hash, computed from the labels and positions now on disk."""
    hashes = []
    for index in range(len(corpus)):
        clip, take = corpus.clip(index), int(corpus.clips[index]["take"])
        hashes.append(clip_hash(clip.emotion, clip.actor, clip.action, take, movement_hash(corpus.positions(index))))
    return data_hash(corpus.layout, corpus.emotions, corpus.frames_per_second, corpus.canonical, hashes)
