"""The content of checkpoint.json, validated: everything that the readers of a checkpoint rely on.

JSON values  ->  CheckpointRecord

Fields that later versions may add to a run's metadata are ignored here and kept in `Checkpoint.metadata`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictInt
from pydantic.dataclasses import dataclass

from emotion_llm.language.llm import LoraSettings
from emotion_llm.language.prompts import PromptTexts
from emotion_llm.motion.canonical import CanonicalSettings
from emotion_llm.runtime.validation import Positive
from emotion_llm.skeleton_tokens.unified import Slots

MAX_SLOTS = 1_000_000
DO_NOT_USE = "do not use this checkpoint"
LENIENT = ConfigDict(extra="ignore", arbitrary_types_allowed=True)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text[:40]!r} holds control characters")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(_printable)]


@dataclass(frozen=True, config=LENIENT)
class ReadingRecord:
    """How the motion files of a corpus were read."""

    metres_per_unit: Positive
    up: Text
    frames_per_second: Positive | None
    columns: dict[str, Any]


@dataclass(frozen=True, config=LENIENT)
class CorpusRecord:
    """A training corpus: what identifies it, and how one more clip of its kind is read."""

    data_hash: Text
    texts_hash: Text
    split_hash: Text
    layout: Text
    emotions: Annotated[tuple[Text, ...], Field(min_length=1)]
    canonical: CanonicalSettings
    reading: ReadingRecord


@dataclass(frozen=True, config=LENIENT)
class SettingsRecord:
    """The settings that a model is rebuilt from."""

    stage: Literal["recognition", "description", "refinement"]
    llm: Text
    data: Text
    corpora: Annotated[tuple[Text, ...], Field(min_length=1)]
    lora: LoraSettings
    slots: Slots


@dataclass(frozen=True, config=LENIENT)
class RunRecord:
    """What a run is."""

    settings: SettingsRecord
    llm_fingerprint: Text
    encoder_hash: Text
    prompts: PromptTexts
    corpora: dict[Text, CorpusRecord]
    versions: dict[str, Text]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CheckpointRecord:
    """checkpoint.json."""

    step: Annotated[StrictInt, Field(ge=0)]
    updates: Annotated[StrictInt, Field(ge=0)]
    metadata: RunRecord
    sha256: dict[str, str]
    """File -> checksum."""
    checksum: str
    """Of this record without this field."""

    def __post_init__(self) -> None:
        if self.updates > self.step:
            raise ValueError(f"{self.updates} updates in {self.step} steps; {DO_NOT_USE}")
        lora, slots = self.metadata.settings.lora, self.metadata.settings.slots
        if not (abs(lora.alpha) < 1e6 and slots.total <= MAX_SLOTS):
            raise ValueError(f"unusable settings: {lora}, {slots}; {DO_NOT_USE}")
        if missing := sorted(set(self.metadata.settings.corpora) - set(self.metadata.corpora)):
            raise ValueError(f"corpus '{missing[0]}' is missing in its list of corpora; {DO_NOT_USE}")
