"""A corpus as it lies on disk: memory-mapped, read without copying it into memory.

data/<name>/  ->  Corpus  ->  Clip (who, what, how long), positions (T, V, 3)

The folder holds

    corpus.json     name, layout, label set, actors, actions, canonical settings, frames per second, hashes
    clips.npy       one row per clip (CLIP_FIELDS)
    names.npy       (clips,) clip names, unicode
    positions.npy   (all frames, V, 3) float32, metres, Y up, canonical (motion/canonical.py)
    texts.json      clip name -> descriptions in words; only where the corpus has some
    report.json     what the import found, kept and left out; report.txt is the same for people
    sources.jsonl   one line per motion file that was read, so that importing again reads only what changed
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from emotion_llm.corpus.fields import FOLDER_NAME, Fields, read_json_object
from emotion_llm.motion.layout import Layout, layout_from_dict, layout_to_dict
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json

FORMAT = 1
"""Raised when the files above change their form; a folder of another form is refused."""
CLIP_FIELDS = np.dtype(
    [
        ("start", np.int64), ("frames", np.int32), ("emotion", np.int16), ("actor", np.int16), ("action", np.int16), ("take", np.int16),
        ("movement", np.uint64),
    ]
)  # fmt: skip
"""start: first row in positions.npy; emotion, actor, action: index into corpus.json's lists; -1 = not known (never the emotion);
movement: head of the hash of the clip's positions: clips that share it hold the same movement."""


@dataclass(frozen=True)
class Clip:
    """One recording of a corpus, in words."""

    name: str
    frames: int
    emotion: str
    actor: str | None
    action: str | None
    texts: tuple[str, ...]
    """Descriptions of this movement in words; empty where nobody wrote one."""


@dataclass(frozen=True)
class Corpus:
    """One imported corpus, opened for reading."""

    folder: Path
    name: str
    layout: Layout
    emotions: tuple[str, ...]
    """The label set, in the order of the emotion indices."""
    actors: tuple[str, ...]
    actions: tuple[str, ...]
    frames_per_second: float
    data_hash: str
    """Hash of layout, label set, canonical settings, and every clip's labels, texts and positions: two corpora with one hash
    are the same data, wherever their files came from."""
    canonical: dict
    """The canonical settings that the positions were made with (motion/canonical.py)."""
    reading: dict
    """How the motion files were read: metres_per_unit, up, frames_per_second, columns (corpus/reading.py)."""

    @cached_property
    def clips(self) -> np.ndarray:
        """(clips,) records of CLIP_FIELDS, memory-mapped."""
        return _open_array(self.folder / "clips.npy")

    @cached_property
    def names(self) -> np.ndarray:
        """(clips,) unicode, memory-mapped."""
        return _open_array(self.folder / "names.npy")

    @cached_property
    def all_positions(self) -> np.ndarray:
        """(all frames, V, 3) float32 metres, memory-mapped: the clips one after another."""
        return _open_array(self.folder / "positions.npy")

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """Clip name -> its descriptions; clips without any are absent."""
        path = self.folder / "texts.json"
        if not path.is_file():
            return {}
        texts = Fields(read_json_object(path, _ANEW), str(path))
        return {name: list(texts.texts(name)) for name in texts.metadata}

    def __len__(self) -> int:
        return len(self.clips)

    def clip(self, index: int) -> Clip:
        row, name = self.clips[index], str(self.names[index])
        return Clip(
            name=name,
            frames=int(row["frames"]),
            emotion=self.emotions[row["emotion"]],
            actor=self.actors[row["actor"]] if row["actor"] >= 0 else None,
            action=self.actions[row["action"]] if row["action"] >= 0 else None,
            texts=tuple(self.texts.get(name, ())),
        )

    def positions(self, index: int) -> np.ndarray:
        """(T, V, 3) float32 metres: a view of the file, not a copy."""
        row = self.clips[index]
        return self.all_positions[row["start"] : row["start"] + row["frames"]]


_ANEW = "import the corpus anew with launch/prepare.py"


def open_corpus(folder: Path) -> Corpus:
    """The corpus in that folder; no array is read into memory.

    Raises:
        UserError: no corpus there, or one whose files do not fit together.
    """
    folder = Path(folder)
    path = folder / "corpus.json"
    if not path.is_file():
        # A re-import that was killed between its two renames leaves the whole old corpus under this name.
        set_aside = folder.with_name(folder.name + ".old")
        if (set_aside / "corpus.json").is_file():
            return open_corpus(set_aside)
        raise UserError(_no_corpus(folder))
    metadata = Fields(read_json_object(path, _ANEW), str(path))
    if metadata.count("format", 0) != FORMAT:
        raise UserError(f"{path}: has format {metadata.count('format', 0)}, this version reads format {FORMAT}; {_ANEW}")
    corpus = Corpus(
        folder=folder,
        name=metadata.text("name"),
        layout=layout_from_dict(metadata.mapping("layout"), place=str(path)),
        emotions=metadata.texts("emotions"),
        actors=metadata.texts("actors"),
        actions=metadata.texts("actions"),
        frames_per_second=float(metadata.number("frames_per_second")),
        data_hash=metadata.text("data_hash"),
        canonical=metadata.mapping("canonical"),
        reading=metadata.mapping("reading"),
    )
    fault = _fault(corpus, clips=metadata.count("clips"), frames=metadata.count("frames"))
    if fault:
        raise UserError(f"{folder}: {fault}; {_ANEW}")
    return corpus


def write_corpus(
    folder: Path, metadata: dict, rows: np.ndarray, names: Sequence[str], positions: Iterable[np.ndarray], texts: dict[str, Sequence[str]]
) -> None:
    """Writes what `open_corpus` reads; corpus.json comes last. The positions are written one clip after another, none is kept.

    Args:
        folder: is made; it must not be there.
        about: corpus.json, without `format`.
        rows: (clips,) CLIP_FIELDS.
        positions: of each clip (T, V, 3).
    """
    folder.mkdir(parents=True)
    np.save(folder / "clips.npy", rows)
    np.save(folder / "names.npy", np.array(names))
    with (folder / "positions.npy").open("wb") as file:
        shape = (metadata["frames"], len(metadata["layout"]["joints"]), 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for track in positions:
            file.write(np.ascontiguousarray(track, dtype="<f4"))
    if texts:
        write_json(folder / "texts.json", texts)
    write_json(folder / "corpus.json", {"format": FORMAT} | metadata)


def movement_hash(positions: np.ndarray) -> str:
    """Hash of one clip's canonical positions (T, V, 3) float32."""
    return hashlib.sha256(repr(positions.shape).encode() + np.ascontiguousarray(positions, dtype="<f4").tobytes()).hexdigest()


def movement_number(movement: str) -> int:
    """The head of a movement hash, as it stands in clips.npy."""
    return int(movement[:16], 16)


def clip_hash(emotion: str, actor: str | None, action: str | None, take: int, texts: Iterable[str], movement: str) -> bytes:
    """Hash of what a corpus says about one clip. Its name, which depends on where the file lay, is no part of it."""
    return hashlib.sha256(json.dumps([emotion, actor, action, take, sorted(texts), movement]).encode()).digest()


def data_hash(layout: Layout, emotions: Iterable[str], frames_per_second: float, canonical: dict, clip_hashes: Iterable[bytes]) -> str:
    """Hash of a whole corpus, the same in whatever order its clips come."""
    metadata = [layout_to_dict(layout), list(emotions), frames_per_second, canonical]
    whole = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for clip in sorted(clip_hashes):
        whole.update(clip)
    return whole.hexdigest()


def recomputed_hash(corpus: Corpus) -> str:
    """The data hash, from what lies on disk now: differs from `corpus.data_hash` where a file was damaged or changed."""
    hashes = []
    for index in range(len(corpus)):
        clip, take = corpus.clip(index), int(corpus.clips[index]["take"])
        hashes.append(clip_hash(clip.emotion, clip.actor, clip.action, take, clip.texts, movement_hash(corpus.positions(index))))
    return data_hash(corpus.layout, corpus.emotions, corpus.frames_per_second, corpus.canonical, hashes)


def _no_corpus(folder: Path) -> str:
    there = sorted(other.parent.name for other in folder.parent.glob("*/corpus.json") if other.parent.suffix != ".old")
    return (
        f"{folder}: no prepared corpus here; "
        + (f"prepared in {folder.parent}: {', '.join(there)}; " if there else "")
        + f"make one with: python launch/prepare.py --corpus {folder.name} --source DIR --output {folder.parent}"
    )


def _open_array(path: Path) -> np.ndarray:
    """The array in that file, memory-mapped: a header that lies about its size is refused, not believed."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; {_ANEW}") from None
    except Exception as error:  # NumPy hands a damaged header to Python's own tokenizer, whose errors are of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read ({reason}); {_ANEW}") from None


def _fault(corpus: Corpus, clips: int, frames: int) -> str | None:
    """What does not fit together, or None. Reads clips.npy, which is small, and no more than the headers of the rest."""
    if not FOLDER_NAME.fullmatch(corpus.name):
        return f"corpus.json calls it {corpus.name[:80]!r}, which is no plain name"
    rows, names, positions = corpus.clips, corpus.names, corpus.all_positions
    if clips == 0 or not corpus.emotions or not corpus.frames_per_second > 0:
        return "corpus.json speaks of no clip, no emotion or no frame rate"
    if rows.dtype != CLIP_FIELDS or rows.shape != (clips,):
        fields = len(rows.dtype.names or ())
        return f"clips.npy holds {rows.shape} records of {fields} fields, corpus.json says ({clips},) of {len(CLIP_FIELDS)}"
    if names.dtype.kind != "U" or names.shape != (clips,):
        return f"names.npy holds {names.shape} of type {names.dtype}, corpus.json says ({clips},) texts"
    expected = (frames, corpus.layout.joints, 3)
    if positions.dtype != np.float32 or positions.shape != expected:
        return f"positions.npy holds {positions.shape} of type {positions.dtype}, corpus.json says {expected} of type float32"
    if (rows["frames"] < 1).any() or (rows["start"] < 0).any() or (rows["start"] > frames - rows["frames"]).any():
        return "clips.npy points outside positions.npy"
    for label, words, lowest in (("emotion", corpus.emotions, 0), ("actor", corpus.actors, -1), ("action", corpus.actions, -1)):
        if (rows[label] < lowest).any() or (rows[label] >= len(words)).any():
            return f"clips.npy holds an {label} that is not among the {len(words)} of corpus.json"
    return None
