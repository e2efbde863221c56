"""Explanations of held-out clips beside what they have to beat, each held against the measured movement.

TrainedModel, EncodedCorpus, CorpusScores  ->  explain_clips: clip -> Explained, in predictions.jsonl under `explained`
Explained records                        ->  explanation_metrics: what metrics.json says under `description`

Every method explains the same emotion, the one that the LLM finds likeliest. All of this is ours; the paper shows examples only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from pydantic.dataclasses import dataclass as validated_dataclass
from torchmetrics.functional.text import bleu_score, rouge_score

from emotion_llm.corpus.store import Corpus
from emotion_llm.evaluation.uncertainty import Bootstrap, interval
from emotion_llm.grounding.claims import QUALITIES
from emotion_llm.grounding.judge import Standing, judge_text, standing
from emotion_llm.grounding.metrics import cider, derangements, distinct_share, shares, text_counts
from emotion_llm.grounding.narrator import narrate
from emotion_llm.grounding.norms import Measured, Norms, make_norms, measure_corpus
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.language.explaining import explain, explain_verified
from emotion_llm.language.label_scoring import CorpusScores, emotion_probabilities
from emotion_llm.motion.layout import Layout
from emotion_llm.runtime.processes import gather_over_processes, process_count, process_rank
from emotion_llm.skeleton_tokens.encoded_corpus import EncodedCorpus
from emotion_llm.skeleton_tokens.unified import MotionFeatures

GREEDY, VERIFIED, OTHER_MOTION, TEMPLATE, NARRATOR = "greedy", "verified", "other_motion", "label_template", "narrator"
REGIONS: dict[str, tuple[str, ...]] = {
    "head": ("head",),
    "trunk": ("trunk", "shoulders"),
    "arms": ("arms", "hands", "elbows"),
    "legs": ("hips", "legs", "knees", "feet", "steps"),
}
"""Region of the body -> the parts of claims that cite it. A claim about the whole body cites none."""
NARRATOR_SEED = 1 << 16
"""Not that of any reference text."""
TEMPLATE_QUALITIES = 2
"""Qualities that the label's template tells."""


@validated_dataclass(frozen=True)
class Explained:
    """What the metrics of one clip's explanations are made of."""

    texts: dict[str, str]
    """Method -> text: `greedy`, `verified`; `other_motion`, the model given another clip's motion; `label_template`, which knows the label
    alone; `narrator`, which knows the measured movement and writes what reference texts may be made of (grounding/narrator.py)."""
    standing: dict[str, dict[str, float]]
    """Moment -> descriptor -> percentile among the corpus's training clips."""
    references: list[str]
    """Texts that the corpus has for the clip."""
    generated_references: bool
    """They were written by the narrator, not by people."""
    without_region: dict[str, float]
    """The LLM's probability of the answered emotion with all of the motion's tokens ("nothing") and without those of one region of the body."""


def places_to_explain(corpus: Corpus, clips: Sequence[int], most: int) -> list[int]:
    """Up to `most` places among the clips, evenly spaced, as neighbours are of one person or action; where clips have texts of their own,
    among these as far as they go."""
    described = [place for place, clip in enumerate(clips) if corpus.clip(clip).texts]
    others = [place for place, clip in enumerate(clips) if not corpus.clip(clip).texts]
    chosen = _evenly_spaced(described, most)
    return sorted(chosen + _evenly_spaced(others, most - len(chosen)))


def _evenly_spaced(places: Sequence[int], most: int) -> list[int]:
    return [places[index * len(places) // most] for index in range(most)] if most < len(places) else list(places)


def explain_clips(trained: TrainedModel, encoded: EncodedCorpus, scores: CorpusScores, most: int, candidates: int) -> dict[int, Explained]:
    """Explains up to `most` clips. Every rank must call it."""
    order = places_to_explain(encoded.corpus, scores.clips, most)
    if not order:
        return {}
    measured = measure_corpus(encoded.corpus)
    norms = trained.norms.get(encoded.corpus.name) or make_norms(encoded.corpus, encoded.split, measured)
    templates = label_templates(encoded, measured, norms)
    clips = [scores.clips[place] for place in order]
    others = [clips[index] for index in derangements(len(clips))[0]] if len(clips) > 1 else clips
    own = slice(process_rank(), None, process_count())
    emotions = [scores.emotions[int(scores.probabilities[place].argmax())] for place in order[own]]
    motions, motions_of_others = ([encoded.clip_motion(clip) for clip in given[own]] for given in (clips, others))
    greedy, of_others = (explain(trained.model, trained.prompts, given, emotions) for given in (motions, motions_of_others))
    explained = {}
    for clip, emotion, motion, text, other_text in zip(clips[own], emotions, motions, greedy, of_others, strict=True):
        stands = standing(measured[clip], norms)
        texts = {
            GREEDY: text,
            VERIFIED: explain_verified(trained.model, trained.prompts, motion, emotion, stands, text, candidates),
            OTHER_MOTION: other_text,
            TEMPLATE: templates[emotion],
            NARRATOR: narrate(measured[clip], norms, emotion, np.random.default_rng([NARRATOR_SEED, clip]))[0],
        }
        removed = _without_regions(trained, motion, encoded.corpus.layout, scores.emotions, emotion)
        about = encoded.corpus.clip(clip)
        explained[clip] = Explained(texts, stands, list(about.texts), about.generated, removed)
    return {clip: one for part in gather_over_processes(explained) for clip, one in part.items()}


def explanation_record(explained: Explained | None) -> dict:
    """Fields of a line of predictions.jsonl: the text to show, its judged claims, those of all methods, and what the metrics are made of."""
    if explained is None:
        return {"explanation": None, "claims": [], "claims_of": {}, "explained": None}
    claims = {
        method: [asdict(judged) for judged in judge_text(text, explained.standing).claims] for method, text in explained.texts.items()
    }
    return {"explanation": explained.texts[VERIFIED], "claims": claims[VERIFIED], "claims_of": claims, "explained": asdict(explained)}


def label_templates(encoded: EncodedCorpus, measured: Sequence[Measured], norms: Norms) -> dict[str, str]:
    """Emotion -> the sentence that suits its training clips best: what a text can get right that knows the label and no movement."""
    templates = {}
    for emotion in encoded.corpus.emotions:
        train = [clip for clip in encoded.split.train if encoded.corpus.clip(clip).emotion == emotion]
        stands = [standing(measured[clip], norms)["throughout"] for clip in train]
        medians = {}
        for name, quality in QUALITIES.items():
            values = [where[quality.descriptor] for where in stands if quality.descriptor in where]
            if len(values) > len(stands) / 2 and quality.low.adjectives and quality.high.adjectives:
                medians[name] = float(np.median(values)) - 50
        told = sorted(medians, key=lambda name: -abs(medians[name]))[:TEMPLATE_QUALITIES]
        clauses = []
        for name in told:
            part, word = QUALITIES[name].part, QUALITIES[name].pole(1 if medians[name] > 0 else -1).adjectives[0]
            clauses.append(f"the {part} {'are' if part.endswith('s') or part == 'feet' else 'is'} {word}")
        templates[emotion] = f"The movement reads as {emotion}{': ' if clauses else ''}{' and '.join(clauses)}."
    return templates


def explanation_metrics(explained: Sequence[Explained], answered: Sequence[str], emotions: Sequence[str], bootstrap: Bootstrap) -> dict:
    """Metrics of N explained clips, per method, with intervals.

    Args:
        answered: the emotion that each text explains.

    Returns:
        `clips`; `generated_references`: how many have texts by the narrator; `methods`: name -> shares (grounding/metrics.py), `distinct`,
        `intervals`, and `rouge_l`, `bleu`, `cider` where all clips have texts; `counterfactual`: mean loss of the answered emotion's
        probability without the tokens of the regions that the greedy text cites, and without those of others.
    """
    movements: list[Standing] = [one.standing for one in explained]
    references = [one.references for one in explained]
    methods = {}
    for method in explained[0].texts:
        texts = [one.texts[method] for one in explained]
        counts = text_counts(texts, movements, answered, emotions)  # (N, counts)
        methods[method] = {
            **{name: float(value) if np.isfinite(value) else None for name, value in shares(counts.sum(axis=0)).items()},
            "distinct": distinct_share(texts),
            "intervals": {name: interval(values) for name, values in shares(bootstrap.sums(counts)).items()},
            **(overlap(texts, references) if all(references) else {}),
        }
    return {
        "clips": len(explained),
        "generated_references": sum(one.generated_references for one in explained),
        "methods": methods,
        "counterfactual": _counterfactual(explained, bootstrap),
    }


def explanation_summary(values: dict) -> str:
    """One method's metrics in a line."""

    def percent(name: str) -> str:
        return "none" if values[name] is None else f"{values[name]:.0%}"

    return (
        f"{percent('supported')} of claims supported, {percent('contradicted')} contradicted (another clip's movement: "
        f"{percent('shuffled_supported')} and {percent('shuffled_contradicted')}), {values['claims_per_text']:.1f} claims per text, "
        f"{percent('distinct')} distinct, {percent('label_consistency')} name the answered emotion"
    )


def overlap(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Agreement in words with the texts of the same clip; a text of a writer's own choice among true statements scores low."""
    rouge = rouge_score(list(texts), [list(group) for group in references], rouge_keys="rougeL")
    bleu = bleu_score(list(texts), [list(group) for group in references])
    return {"rouge_l": float(rouge["rougeL_fmeasure"]), "bleu": float(bleu), "cider": cider(texts, references)}


def region_tokens(layout: Layout) -> dict[str, list[int]]:
    """Region -> its spatial tokens among a motion's 1 + V + T' (joint v is token 1 + v)."""
    parts = [part.removeprefix("left_").removeprefix("right_") for part in layout.parts]
    return {region: [1 + joint for joint, part in enumerate(parts) if part in (region, region.rstrip("s"))] for region in REGIONS}


def _without_regions(
    trained: TrainedModel, motion: MotionFeatures, layout: Layout, emotions: Sequence[str], emotion: str
) -> dict[str, float]:
    groups = {"nothing": [], **region_tokens(layout)}
    kept = [motion.keep([token for token in range(len(motion.rows)) if token not in set(tokens)]) for tokens in groups.values()]
    probabilities = emotion_probabilities(trained.model, trained.prompts, kept, emotions, trained.device)
    column = list(emotions).index(emotion)
    return {name: round(float(row[column]), 6) for name, row in zip(groups, probabilities, strict=True)}


def cited_regions(text: str, movement: Standing) -> set[str]:
    """Regions of the body that a text's claims are about."""
    parts = {judged.claim.part for judged in judge_text(text, movement).claims}
    return {region for region, members in REGIONS.items() if parts & set(members)}


def _counterfactual(explained: Sequence[Explained], bootstrap: Bootstrap) -> dict:
    """Over the clips whose greedy text cites some regions and not others.

    Some regions have more tokens and matter more for every clip. `difference` therefore compares losses beyond the mean loss of the same
    region over these clips.
    """
    cites = [cited_regions(one.texts[GREEDY], one.standing) for one in explained]
    used = np.array([0 < len(cited) < len(REGIONS) for cited in cites])  # (N,)
    if not used.any():
        return {"clips": 0}
    cited = np.array([[region in one for region in REGIONS] for one in cites])[used]  # (clips, regions)
    without = [one.without_region for one in explained]
    loss = np.array([[one["nothing"] - one[region] for region in REGIONS] for one in without])[used]  # (clips, regions)
    gap, beyond = (_mean_where(values, cited) - _mean_where(values, ~cited) for values in (loss, loss - loss.mean(axis=0)))  # (clips,)
    differences = np.full(len(explained), np.nan)
    differences[used] = beyond
    return {
        "clips": len(beyond),
        "loss_without_cited": float(_mean_where(loss, cited).mean()),
        "loss_without_uncited": float(_mean_where(loss, ~cited).mean()),
        "share_cited_matters_more": float((gap > 0).mean()),
        "difference": float(beyond.mean()),
        "difference_interval": bootstrap.interval_of_mean(differences),
    }


def _mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(clips, regions) -> mean over the chosen regions (clips,)."""
    return (values * chosen).sum(axis=1) / chosen.sum(axis=1)
