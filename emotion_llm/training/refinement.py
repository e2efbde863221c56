"""Texts of the refinement stage: of what the description model says of its training clips, what is plainly true and says most (rejection sampling).

EmotionLLM, encoded corpora  ->  corpus -> clip -> texts, kept as own_texts.json in the run folder

Ours, after rejection sampling for reasoning (Yuan et al. 2023, arXiv:2308.01825). The texts are filtered by the judge that also computes
the metrics, so an independent checker has to confirm a gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from emotion_llm.grounding.judge import standing
from emotion_llm.grounding.norms import make_norms, measure_corpus
from emotion_llm.grounding.selection import plainly_true
from emotion_llm.language.explaining import CANDIDATES, sample_explanations
from emotion_llm.language.model import EmotionLLM
from emotion_llm.language.prompts import PromptWriter
from emotion_llm.runtime.console import progress, say
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.files import write_json
from emotion_llm.runtime.launcher import is_first_rank
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank
from emotion_llm.runtime.validation import read_json_object, validate_record
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus
from emotion_llm.training.settings import FinetuneSettings

FILE = "own_texts.json"
Texts: TypeAlias = dict[str, dict[str, list[str]]]
"""Corpus -> clip -> its texts; clips without any are left out."""


def own_texts(
    model: EmotionLLM, prompts: PromptWriter, corpora: Sequence[EncodedCorpus], settings: FinetuneSettings, resumed: bool
) -> Texts:
    """The texts to learn: sampled anew, CANDIDATES of every training clip, or those that a resumed run was started with.

    Every rank must call it.

    Raises:
        UserError: no clip has a text to learn from, or a resumed run's texts are missing or damaged.
    """
    path = settings.run / FILE
    if resumed:
        return validate_record(Texts, read_json_object(path, "start a new run with another --run folder"), str(path))
    texts: Texts = {}
    for encoded in corpora:
        own = encoded.split.train[process_rank() :: process_count()]
        parts = gather_over_processes(_sample(model, prompts, encoded, own, settings.seed))
        texts[encoded.corpus.name] = {clip: kept for part in parts for clip, kept in part.items()}
        say(
            f"{encoded.corpus.name}: {len(texts[encoded.corpus.name])} of {len(encoded.split.train)} training clips have texts to learn from"
        )
    if not any(texts.values()):
        raise UserError(
            f"{settings.run}: the model says nothing plainly true of any training clip; --start-from a run of --stage description"
        )
    if is_first_rank():
        write_json(path, texts)
    return texts


def _sample(model: EmotionLLM, prompts: PromptWriter, encoded: EncodedCorpus, clips: Sequence[int], seed: int) -> Mapping[str, list[str]]:
    corpus, measured, kept = encoded.corpus, measure_corpus(encoded.corpus), {}
    norms = make_norms(corpus, encoded.split, measured)
    for clip in progress(clips, f"explaining {corpus.name}", "clip"):
        about, motion = corpus.clip(clip), encoded.clip_motion(clip)
        sampled = sample_explanations(model, prompts, motion, about.emotion, CANDIDATES, seed)
        if true := plainly_true(sampled, standing(measured[clip], norms), about.emotion, corpus.emotions):
            kept[about.name] = true
    return kept
