"""A trained encoder in its run folder, which describes itself.

TrainedEncoder  ->  <run>/skeleton_encoder.safetensors + <run>/encoder.json  ->  TrainedEncoder
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from emotion_llm.corpus.splits import SplitSettings
from emotion_llm.motion.layout import Layout, layout_from_dict, layout_to_dict
from emotion_llm.pretraining.model import PretrainingModel
from emotion_llm.pretraining.text_alignment import TextAlignment
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json
from emotion_llm.skeleton_encoder.encoder import SkeletonEncoder, SkeletonEncoderSettings
from emotion_llm.skeleton_encoder.pooling import EmotionClassifier

WEIGHTS = "skeleton_encoder.safetensors"
ABOUT = "encoder.json"
IDENTITY = ("settings", "layouts", "emotions", "frames_per_second", "window_frames", "temperature")
"""What of encoder.json decides an answer, besides the weights: the encoder hash covers these."""


@dataclass(frozen=True)
class TrainedEncoder:
    """A frozen encoder and what it was trained on."""

    model: PretrainingModel
    metadata: dict
    """encoder.json."""

    @property
    def encoder(self) -> SkeletonEncoder:
        return self.model.encoder

    @property
    def encoder_hash(self) -> str:
        """Hash of the weights and of everything else that decides an answer."""
        return self.metadata["encoder_hash"]

    @property
    def channels(self) -> int:
        """C of its features."""
        return self.encoder.width

    @property
    def window_frames(self) -> int:
        return self.metadata["window_frames"]

    @property
    def frames_per_second(self) -> float:
        return self.metadata["frames_per_second"]

    @property
    def split_settings(self) -> SplitSettings:
        return SplitSettings(**self.metadata["split"])

    def layout_index(self, layout: Layout) -> int:
        """Where the layout stands among the encoder's.

        Raises:
            UserError: a layout that the encoder was not trained on.
        """
        known = [known.name for known in self.encoder.layouts]
        for index, other in enumerate(self.encoder.layouts):
            if layout_to_dict(other) == layout_to_dict(layout):
                return index
        if layout.name in known:
            raise UserError(f"layout '{layout.name}' is not the one of that name that the encoder was trained on; restore the layout file")
        raise UserError(f"layout '{layout.name}' ({layout.joints} joints) is not known to the encoder; it knows {', '.join(known)}")

    def probabilities(self, semantic: Tensor, emotions: tuple[str, ...]) -> Tensor:
        """What the classifier says of N windows, among the given emotions.

        Shape:
            semantic (N, C), K emotions  ->  (N, K) float64; rows sum to 1

        Raises:
            UserError: an emotion that the encoder was not trained on.
        """
        words = self.metadata["emotions"]
        unknown = [emotion for emotion in emotions if emotion not in words]
        if unknown:
            raise UserError(f"emotion '{unknown[0]}' is not known to the encoder; it was trained on {', '.join(words)}")
        chosen = torch.tensor([words.index(emotion) for emotion in emotions])
        with torch.inference_mode():
            return self.model.classifier.head(semantic)[:, chosen.to(semantic.device)].double().softmax(1)


def save_encoder(run: Path, model: PretrainingModel, metadata: dict) -> TrainedEncoder:
    """Writes the encoder; encoder.json, last, makes it valid.

    Args:
        about: everything of encoder.json but architecture, layouts, versions and the hash.
    """
    run.mkdir(parents=True, exist_ok=True)
    tmp = run / (WEIGHTS + ".aside")
    tmp.write_bytes(save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}))
    metadata = {
        "settings": dataclasses.asdict(model.encoder.settings),
        "layouts": [layout_to_dict(layout) for layout in model.encoder.layouts],
        "temperature": model.alignment.temperature if model.alignment is not None else None,
        **metadata,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("emotion_llm", "torch", "numpy")},
    }
    metadata = json.loads(json.dumps(metadata))
    metadata["encoder_hash"] = _hash(tmp, metadata)
    tmp.replace(run / WEIGHTS)
    write_json(run / ABOUT, metadata)
    return TrainedEncoder(model, metadata)


def load_encoder(run: Path) -> TrainedEncoder:
    """The encoder of that run folder, frozen, on the CPU.

    Raises:
        UserError: no encoder there, or one whose files do not belong together.
    """
    again = f"run launch/pretrain_encoder.py --run {run} again, or restore both files"
    if not (run / ABOUT).is_file() or not (run / WEIGHTS).is_file():
        raise UserError(f"{run}: no trained encoder here; train one with: python launch/pretrain_encoder.py --run {run}")
    try:
        metadata = json.loads((run / ABOUT).read_text(encoding="utf-8"))
        if metadata["encoder_hash"] != _hash(run / WEIGHTS, metadata):
            raise UserError(f"{run}: {WEIGHTS} and {ABOUT} do not belong together (their hash differs); {again}")
        weights = load_file(run / WEIGHTS)
        settings = SkeletonEncoderSettings(**{name: tuple(x) if isinstance(x, list) else x for name, x in metadata["settings"].items()})
        widest = max((max(value.shape, default=0) for value in weights.values()), default=0)
        if max(settings.widths) > widest or len(settings.widths) > len(weights):  # such a model is not even built: it might fill the memory
            raise UserError(f"{run}: {ABOUT} speaks of an encoder that {WEIGHTS} does not hold; {again}")
        layouts = [layout_from_dict(layout, place=str(run / ABOUT)) for layout in metadata["layouts"]]
        encoder = SkeletonEncoder(layouts, settings)
        text_embeddings = weights.get("alignment.text_embeddings")
        alignment = None if text_embeddings is None else TextAlignment(encoder.width, text_embeddings, metadata["temperature"])
        model = PretrainingModel(encoder, EmotionClassifier(encoder.width, len(metadata["emotions"])), alignment)
        model.load_state_dict(weights)
    except UserError:
        raise
    except (SafetensorError, ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{run}: the trained encoder cannot be read ({type(error).__name__}: {reason}); {again}") from None
    return TrainedEncoder(model.eval().requires_grad_(False), metadata)


def _hash(weights: Path, metadata: dict) -> str:
    digest = hashlib.sha256(json.dumps([metadata[field] for field in IDENTITY], sort_keys=True).encode())
    with weights.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
