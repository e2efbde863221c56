"""A corpus on disk: memory-mapped, so that opening it copies nothing into memory.

data/<name>/  ->  Corpus  ->  Clip (who, what, how long), positions (T, V, 3)

The folder holds

    corpus.json     name, layout, label set, actors, actions, canonical settings, frames per second, hashes
    clips.npy       one row per clip (CLIP_FIELDS)
    names.npy       (clips,) clip names, unicode
    positions.npy   (all frames, V, 3) float32, metres, Y up, canonical (motion/canonical.py)
    texts.json      clip name -> descriptions; only if the corpus has some
    narration.json  clip name -> generated descriptions (grounding/narration.py); only if the corpus was narrated
    report.json     what the import found, kept and left out; report.txt and two pictures are the same for people
    sources.jsonl   one line per motion file that was read: tells whether anything has changed since
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as validated_dataclass

from emotion_llm.motion.layout import Layout, layout_from_dict, layout_to_dict
from emotion_llm.motion.motion import Motion
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write, content_hash, file_hash, write_json
from emotion_llm.runtime.validation import read_json_object, validate_record

FORMAT = 2  # Increases when the files above change; a folder in another format is refused
NARRATION = "narration.json"
CLIP_FIELDS = np.dtype(
    [
        ("start", np.int64), ("frames", np.int32), ("emotion", np.int16), ("actor", np.int16), ("action", np.int16), ("take", np.int16),
        ("movement", np.uint64)
    ]
)  # fmt: skip
"""start: first row in positions.npy; emotion, actor, action: index into corpus.json's lists; -1 = not known (never the emotion);
movement: first 8 bytes of the hash of the clip's positions: clips that share it hold the same movement."""
CONTENT_FILES = ("clips.npy", "names.npy", "positions.npy", "texts.json", NARRATION)
"""The files whose hashes corpus.json records."""


def check_name(name: str) -> str:
    """Raises ValueError: a corpus cannot have this name, because folders are named after it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise ValueError("it names a folder: use up to 64 letters, digits and _ -")
    return name


@dataclass(frozen=True)
class Clip:
    """One recording of a corpus, its labels as words."""

    name: str
    frames: int
    emotion: str
    actor: str | None
    action: str | None
    texts: tuple[str, ...]  # Descriptions of this movement; may be empty
    generated: bool = False  # True: the descriptions were generated, not written by people


class StoredClip(NamedTuple):
    """A clip to be written."""

    name: str
    frames: int
    emotion: str
    actor: str | None
    action: str | None
    take: int  # -1 = not known
    movement: str  # `movement_hash` of its positions
    texts: Sequence[str] = ()


@validated_dataclass(frozen=True, config=ConfigDict(arbitrary_types_allowed=True, extra="ignore"))
class Corpus:
    """One imported corpus, opened for reading: the folder and what training needs of its corpus.json."""

    folder: Path
    name: Annotated[str, AfterValidator(check_name)]
    layout: Annotated[
        Layout, BeforeValidator(lambda layout: layout if isinstance(layout, Layout) else layout_from_dict(layout, place="corpus.json"))
    ]
    emotions: Annotated[tuple[str, ...], Field(min_length=1)]  # The label set, in the order of the emotion indices
    actors: tuple[str, ...]
    actions: tuple[str, ...]
    frames_per_second: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    data_hash: str
    """Hash of layout, label set, canonical settings, and every clip's labels and positions: two corpora with the same hash are the
    same data, wherever their files came from."""
    texts_hash: str  # Hash of the descriptions, apart from `data_hash`: only the description stage depends on them
    canonical: dict[str, Any]  # The canonical settings that the positions were made with (motion/canonical.py)
    reading: dict[str, Any]  # How the motion files were read (ReadingSettings.conventions)
    files: dict[str, str]  # Name -> hash of each of CONTENT_FILES that the folder holds
    narration: dict[str, Any] = Field(default_factory=dict)
    """Of a narrated corpus: "generated" (always true), the number of clips, and the split whose training clips it was narrated by."""
    import_hash: str = ""  # Hash of everything that the import depended on besides the content of the source files

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
        """Clip name -> the descriptions that people wrote; clips without any are absent."""
        return self._texts_in("texts.json")

    @cached_property
    def narrated_texts(self) -> dict[str, list[str]]:
        """Clip name -> generated descriptions; clips without any are absent."""
        return self._texts_in(NARRATION) if self.narration else {}

    def _texts_in(self, name: str) -> dict[str, list[str]]:
        path = self.folder / name
        if not path.is_file():
            return {}
        return validate_record(dict[str, list[str]], read_json_object(path, _IMPORT_AGAIN), str(path))

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
            texts=tuple(self.texts.get(name) or self.narrated_texts.get(name) or ()),
            generated=name not in self.texts and name in self.narrated_texts,
        )

    def positions(self, index: int) -> np.ndarray:
        """(T, V, 3) float32 metres: a view of the file, not a copy."""
        row = self.clips[index]
        return self.all_positions[row["start"] : row["start"] + row["frames"]]

    def motion(self, index: int) -> Motion:
        return Motion(self.layout, self.positions(index), self.frames_per_second)


_IMPORT_AGAIN = "import the corpus again with launch/prepare.py"


def open_corpus(folder: Path) -> Corpus:
    """The corpus in that folder; no array is read into memory, and the arrays' content is not verified (`check_content` does).

    Raises:
        UserError: no corpus there, or its files do not fit together.
    """
    folder = Path(folder)
    path = folder / "corpus.json"
    if not path.is_file():
        # An import that was killed between its two renames leaves the complete old corpus under this name.
        set_aside = folder.with_name(folder.name + ".old")
        if (set_aside / "corpus.json").is_file():
            return open_corpus(set_aside)
        raise UserError(_no_corpus(folder))
    metadata = read_json_object(path, _IMPORT_AGAIN)
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: has format {metadata.get('format')!r:.20}, this version reads format {FORMAT}; {_IMPORT_AGAIN}")
    try:
        corpus = validate_record(Corpus, metadata | {"folder": folder}, str(path))
    except UserError as error:
        raise UserError(f"{error}; {_IMPORT_AGAIN}") from None
    if fault := _fault(corpus):
        raise UserError(f"{folder}: {fault}; {_IMPORT_AGAIN}")
    return corpus


def check_content(corpus: Corpus) -> None:
    """Raises UserError: a file was changed or damaged since the import. Each is read in full once, and again after it changed."""
    found = {name: content_hash(corpus.folder / name) for name in CONTENT_FILES if (corpus.folder / name).is_file()}
    if changed := [name for name in CONTENT_FILES if found.get(name) != corpus.files.get(name)]:
        raise UserError(f"{corpus.folder}: {' and '.join(changed)} changed since the import; restore the files, or {_IMPORT_AGAIN}")


def write_positions(path: Path, tracks: Iterable[np.ndarray], joints: int) -> None:
    """Writes positions.npy one clip after another; at no time more than one clip is in memory.

    Shape:
        tracks, each (T, V, 3)  ->  (all frames, V, 3)
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": (0, joints, 3)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        frames = 0
        for track in tracks:
            file.write(np.ascontiguousarray(track, dtype="<f4").data)
            frames += len(track)
        file.seek(0)  # numpy pads headers so that the first axis may grow: the length of the header does not depend on it
        np.lib.format.write_array_header_1_0(file, header | {"shape": (frames, joints, 3)})


def write_corpus(
    folder: Path,
    layout: Layout,
    emotions: Sequence[str],
    frames_per_second: float,
    canonical: dict,
    clips: Sequence[StoredClip],
    **metadata: Any,
) -> None:
    """Writes the rest of what `open_corpus` reads beside positions.npy; corpus.json comes last.

    Args:
        clips: in the order of their positions.
        metadata: the other fields of corpus.json.
    """
    actors = sorted({clip.actor for clip in clips if clip.actor is not None}, key=natural_order)
    actions = sorted({clip.action for clip in clips if clip.action is not None}, key=natural_order)
    numbers = [{word: index for index, word in enumerate(words)} | {None: -1} for words in (emotions, actors, actions)]
    starts = np.cumsum([0, *(clip.frames for clip in clips)])
    rows = [
        (start, clip.frames, *(number[word] for number, word in zip(numbers, clip[2:5])), clip.take, int(clip.movement[:16], 16))
        for start, clip in zip(starts, clips)
    ]
    np.save(folder / "clips.npy", np.array(rows, CLIP_FIELDS))
    np.save(folder / "names.npy", np.array([clip.name for clip in clips]))
    if texts := {clip.name: clip.texts for clip in clips if clip.texts}:
        write_json(folder / "texts.json", texts)
    hashes = {
        "data_hash": data_hash(layout, emotions, frames_per_second, canonical, [clip_hash(*clip[2:7]) for clip in clips]),
        "texts_hash": texts_hash((clip.movement, clip.texts) for clip in clips if clip.texts),
        "files": {name: file_hash(folder / name) for name in CONTENT_FILES if (folder / name).is_file()},
    }
    labels = {"emotions": emotions, "actors": actors, "actions": actions}
    made = {"layout": layout_to_dict(layout), "frames_per_second": frames_per_second, "canonical": canonical}
    write_json(folder / "corpus.json", {"format": FORMAT} | labels | made | metadata | hashes)


def add_narration(corpus: Corpus, texts: Mapping[str, Sequence[str]], about: Mapping[str, str], split_hash: str) -> None:
    """Adds generated descriptions to a corpus on disk, or replaces them. Only `texts_hash` changes: no encoder has to be trained again.

    Args:
        texts: clip name -> its generated descriptions.
        about: name -> content of more files about them, for people.
        split_hash: of the split by whose training clips they were generated.
    """
    for name, content in about.items():
        with atomic_write(corpus.folder / name) as tmp:
            tmp.write_text(content, encoding="utf-8", newline="\n")
    every = {name: corpus.texts.get(name) or texts[name] for name in corpus.texts.keys() | texts.keys()}
    told = [(movement_hash(corpus.positions(index)), every[name]) for index, name in enumerate(map(str, corpus.names)) if name in every]
    metadata = read_json_object(corpus.folder / "corpus.json", _IMPORT_AGAIN)
    write_json(corpus.folder / NARRATION, texts)
    narration = {"generated": True, "clips": len(texts), "split_hash": split_hash}
    files = metadata["files"] | {NARRATION: file_hash(corpus.folder / NARRATION)}
    write_json(corpus.folder / "corpus.json", metadata | {"texts_hash": texts_hash(told), "narration": narration, "files": files})


def natural_order(word: str) -> list[tuple[int, str]]:
    """Sort key of actors and actions: Actor2 comes before Actor10."""
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in re.split(r"([0-9]+)", word)]


def movement_hash(positions: np.ndarray) -> str:
    """Hash of one clip's canonical positions (T, V, 3) float32."""
    return hashlib.sha256(repr(positions.shape).encode() + np.ascontiguousarray(positions, dtype="<f4").tobytes()).hexdigest()


def clip_hash(emotion: str, actor: str | None, action: str | None, take: int, movement: str) -> bytes:
    """Hash of a clip's labels and positions. Its name, which depends on where the file lay, and its texts are not included."""
    return hashlib.sha256(json.dumps([emotion, actor, action, take, movement]).encode()).digest()


def data_hash(layout: Layout, emotions: Iterable[str], frames_per_second: float, canonical: dict, clip_hashes: Iterable[bytes]) -> str:
    """Hash of a whole corpus, independent of the order of its clips."""
    metadata = [layout_to_dict(layout), list(emotions), frames_per_second, canonical]
    whole = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for clip in sorted(clip_hashes):
        whole.update(clip)
    return whole.hexdigest()


def texts_hash(texts: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Hash of (movement hash, descriptions) of all clips that have some, independent of their order."""
    return hashlib.sha256(json.dumps(sorted([movement, sorted(words)] for movement, words in texts)).encode()).hexdigest()


def _no_corpus(folder: Path) -> str:
    there = sorted(other.parent.name for other in folder.parent.glob("*/corpus.json") if other.parent.suffix != ".old")
    known = f"prepared in {folder.parent}: {', '.join(there)}; " if there else ""
    command = f"python launch/prepare.py --corpus {folder.name} --source DIR --output {folder.parent}"
    return f"{folder}: no prepared corpus here; {known}make one with: {command}"


def _open_array(path: Path) -> np.ndarray:
    """The array in that file, memory-mapped. A header that declares more data than the file holds is an error."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; {_IMPORT_AGAIN}") from None
    except Exception as error:  # a damaged header raises errors of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read ({reason}); {_IMPORT_AGAIN}") from None


def _fault(corpus: Corpus) -> str | None:
    """What does not fit together, or None. Reads clips.npy, which is small, and only the headers of the other arrays."""
    rows, names, positions = corpus.clips, corpus.names, corpus.all_positions
    if rows.dtype != CLIP_FIELDS or rows.ndim != 1 or len(rows) == 0:
        return f"clips.npy holds {rows.shape} records of {len(rows.dtype.names or ())} fields; expected (clips,) of {len(CLIP_FIELDS.names or ())}"
    if names.dtype.kind != "U" or names.shape != rows.shape:
        return f"names.npy holds {names.shape} of type {names.dtype}; expected {rows.shape} texts"
    if positions.dtype != np.float32 or positions.shape[1:] != (corpus.layout.joints, 3):
        expected = f"(frames, {corpus.layout.joints}, 3)"
        return f"positions.npy holds {positions.shape} of type {positions.dtype}; expected {expected} of type float32"
    frames = rows["frames"].astype(np.int64)
    if (frames < 1).any() or (rows["start"] < 0).any() or (rows["start"] > len(positions) - frames).any() or frames.sum() != len(positions):
        return f"clips.npy and positions.npy do not fit together ({int(frames.sum())} and {len(positions)} frames)"
    for label, words, lowest in (("emotion", corpus.emotions, 0), ("actor", corpus.actors, -1), ("action", corpus.actions, -1)):
        if (rows[label] < lowest).any() or (rows[label] >= len(words)).any():
            return f"clips.npy holds an {label} that is not among the {len(words)} of corpus.json"
    return None
