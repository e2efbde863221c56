"""A trained encoder and its files.

model, metadata  ->  <run>/skeleton_encoder.safetensors + <run>/encoder.json  ->  TrainedEncoder
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.motion.layout import Layout, layout_from_dict, layout_to_dict
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.pretraining.text_alignment import TextAlignment
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import atomic_write, file_hash, write_json
from emotion_llm.runtime.run_folder import versions
from emotion_llm.runtime.validation import STRICT, read_json_object, validate_record
from emotion_llm.skeleton_encoder.encoder import SkeletonEncoder
from emotion_llm.skeleton_encoder.pooling import EmotionClassifier
from emotion_llm.skeleton_encoder.settings import EncoderSettings

WEIGHTS = "skeleton_encoder.safetensors"
ABOUT = "encoder.json"
NOT_HASHED = ("encoder_hash", "held_out", "pretraining", "versions")
"""Fields of encoder.json that the encoder hash does not cover: they describe the training but change no result."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=STRICT)
class EncoderRecord:
    """encoder.json."""

    settings: EncoderSettings
    layouts: Annotated[list[dict[str, Any]], Field(min_length=1)]
    temperature: Positive | None
    emotions: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    frames_per_second: Positive
    window_frames: Annotated[int, Field(ge=1)]
    split: SplitSettings
    corpora: dict[str, dict[str, Any]]  # Corpus name -> record (corpus/provenance.py)
    canonical: dict[str, Any] = dataclasses.field(default_factory=dict)
    pretraining: dict[str, Any] = dataclasses.field(default_factory=dict)  # The settings of the run
    held_out: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)  # Corpus name -> accuracy, clips, chance
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    encoder_hash: str = ""


@dataclasses.dataclass(frozen=True)
class TrainedEncoder:
    """A frozen encoder and what it was trained on."""

    model: PretrainingModel
    record: EncoderRecord

    @property
    def encoder(self) -> SkeletonEncoder:
        return self.model.encoder

    @property
    def encoder_hash(self) -> str:
        """Hash of the weights and of every field of the record that changes results."""
        return self.record.encoder_hash

    @property
    def channels(self) -> int:
        """C + Q: numbers per feature row, the kinematic descriptors included."""
        return self.encoder.row_width

    def layout_index(self, layout: Layout) -> int:
        """Index of the layout among the encoder's. Raises UserError: the encoder was not trained on this layout."""
        if layout in self.encoder.layouts:
            return self.encoder.layouts.index(layout)
        known = [known.name for known in self.encoder.layouts]
        if layout.name in known:
            raise UserError(f"layout '{layout.name}' is not the one of that name that the encoder was trained on; restore the layout file")
        raise UserError(f"layout '{layout.name}' ({layout.joints} joints) is not known to the encoder; it knows {', '.join(known)}")

    def probabilities(self, semantic: Tensor, emotions: tuple[str, ...]) -> Tensor:
        """The classifier's probabilities of the given emotions for N windows.

        Shape:
            semantic (N, C), or semantic rows (N, C + Q)  ->  (N, E) float64 on the CPU; rows sum to 1

        Raises:
            UserError: the encoder was not trained on one of the emotions.
        """
        known = self.record.emotions
        unknown = [emotion for emotion in emotions if emotion not in known]
        if unknown:
            raise UserError(f"emotion '{unknown[0]}' is not known to the encoder; it was trained on {', '.join(known)}")
        head = self.model.classifier.head
        with torch.inference_mode():
            logits: Tensor = head(semantic[:, : self.encoder.width].to(head.weight.device)).double().cpu()  # (N, all emotions)
            return logits[:, [known.index(emotion) for emotion in emotions]].softmax(1)


def save_encoder(run: Path, model: PretrainingModel, metadata: dict[str, Any]) -> TrainedEncoder:
    """Writes the encoder. encoder.json comes last: without it, the folder holds no encoder.

    Args:
        metadata: the fields of encoder.json that the model does not determine.
    """
    fields = metadata | {
        "settings": dataclasses.asdict(model.encoder.settings),
        "layouts": [layout_to_dict(layout) for layout in model.encoder.layouts],
        "temperature": model.alignment.temperature if model.alignment is not None else None,
        "versions": versions("emotion_llm", "torch", "numpy"),
    }
    record = validate_record(EncoderRecord, json.loads(json.dumps(fields)), ABOUT)
    with atomic_write(run / WEIGHTS) as tmp:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, tmp)
    record = dataclasses.replace(record, encoder_hash=_hash(run / WEIGHTS, record))
    write_json(run / ABOUT, dataclasses.asdict(record))
    return TrainedEncoder(model, record)


def load_encoder(run: Path) -> TrainedEncoder:
    """The encoder of that run folder, frozen, on the CPU.

    Raises:
        UserError: there is no encoder, or its files are damaged or do not match.
    """
    remedy = f"run launch/pretrain_encoder.py --run {run} again, or restore both files"
    if not (run / ABOUT).is_file() or not (run / WEIGHTS).is_file():
        raise UserError(f"{run}: no trained encoder here; train one with: python launch/pretrain_encoder.py --run {run}")
    fields = read_json_object(run / ABOUT, remedy)
    try:
        record = validate_record(EncoderRecord, fields, f"{run / ABOUT}")
        if record.encoder_hash != _hash(run / WEIGHTS, record):
            raise UserError(f"{run}: {WEIGHTS} and {ABOUT} do not match (their hash differs)")
        weights = load_file(run / WEIGHTS)
        with torch.device("meta"):  # allocates nothing, however large the record's settings are
            shapes = {name: tensor.shape for name, tensor in _build(record, weights, run).state_dict().items()}
        if shapes != {name: tensor.shape for name, tensor in weights.items()}:
            raise UserError(f"{run}: {ABOUT} describes another encoder than {WEIGHTS} holds")
        model = _build(record, weights, run)
        model.load_state_dict(weights)
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    except (SafetensorError, ValueError, TypeError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{run}: the trained encoder cannot be read ({type(error).__name__}: {reason}); {remedy}") from None
    return TrainedEncoder(model.eval().requires_grad_(False), record)


def _build(record: EncoderRecord, weights: dict[str, Tensor], run: Path) -> PretrainingModel:
    encoder = record.settings.build([layout_from_dict(layout, place=f"{run / ABOUT}") for layout in record.layouts])
    texts = weights.get("alignment.text_embeddings")
    if (texts is None) != (record.temperature is None):
        raise UserError(f"{run}: temperature is {record.temperature} in {ABOUT}, which does not match the text embeddings of {WEIGHTS}")
    alignment = TextAlignment(encoder.width, texts, record.temperature) if texts is not None and record.temperature is not None else None
    return PretrainingModel(encoder, EmotionClassifier(encoder.width, len(record.emotions)), alignment)


def _hash(weights: Path, record: EncoderRecord) -> str:
    fields = {name: value for name, value in dataclasses.asdict(record).items() if name not in NOT_HASHED}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode() + bytes.fromhex(file_hash(weights))).hexdigest()
