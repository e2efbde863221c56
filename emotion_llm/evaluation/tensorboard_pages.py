"""An evaluation in TensorBoard.

metrics and predictions of each corpus  ->  <folder>/tensorboard: tables, confusion, reliability, examples, a row of HPARAMS
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_llm.corpus.store import Corpus
from emotion_llm.evaluation.explanations import GREEDY
from emotion_llm.grounding.examples import Example, example_figure, examples_table
from emotion_llm.inference.trained_model import TrainedModel
from emotion_llm.runtime.figures import confusion_figure, reliability_figure, removal_figure
from emotion_llm.runtime.tensorboard import Tag, TensorBoardWriter

EXAMPLES = 4
"""Explained clips shown per corpus."""
PARTS = {"LLM alone": "llm", "encoder alone": "encoder_classifier"}
"""What answers are pooled from: name in figures -> method."""


def write_pages(
    folder: Path, trained: TrainedModel, corpora: Sequence[Corpus], metrics: Mapping[str, dict], predictions: Sequence[Mapping[str, Any]]
) -> None:
    """Writes everything at the checkpoint's step.

    Args:
        metrics: corpus -> what metrics.json says of it.
        predictions: lines of predictions.jsonl.
    """
    tensorboard, step = TensorBoardWriter(folder), trained.checkpoint.step
    tensorboard.text(Tag.TABLE, results_table(metrics), step)
    shown: list[Example] = []
    for corpus in corpora:
        values, title = metrics[corpus.name], f"{corpus.name}, held out"
        tensorboard.figure(Tag.CONFUSION.of(corpus.name), confusion_figure(values["confusion"], values["emotions"], title), step)
        parts = {name: values["baselines"][method] for name, method in PARTS.items() if method in values["baselines"]}
        curves = {name: scores["reliability"] for name, scores in ({"answer": values} | parts).items()}
        tensorboard.figure(Tag.RELIABILITY.of(corpus.name), reliability_figure(curves, title), step)
        if faithful := values.get("faithfulness"):
            figure = removal_figure(faithful["removed"], faithful["probability"], title)
            tensorboard.figure(Tag.FAITHFULNESS.of(corpus.name), figure, step)
        examples = _examples(corpus, [record for record in predictions if record["corpus"] == corpus.name])
        for number, example in enumerate(examples, 1):
            tensorboard.figure(f"{Tag.EXAMPLES.of(corpus.name)}/{number}", example_figure(example), step)
        shown += examples
    if shown:
        tensorboard.text(Tag.ANSWERS, examples_table(shown), step)
    tensorboard.hyperparameters(hyperparameters(trained.settings), final_results(metrics), step)
    tensorboard.close()


def results_table(metrics: Mapping[str, dict]) -> str:
    """Markdown: every method's accuracy on each corpus, and what became of the explanations' claims."""
    parts = []
    for corpus, values in metrics.items():
        rows = [("method", "accuracy", "95 % interval", "macro F1", "calibration error"), ("---",) * 5]
        for method, scores in {"**answer**": values, **values["baselines"]}.items():
            low, high = scores["intervals"]["accuracy"]
            numbers = (
                f"{scores['accuracy']:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{scores['macro_f1']:.2f}",
                f"{scores['calibration_error']:.2f}",
            )
            rows.append((method.replace("_", " "), *numbers))
        parts.append(f"### {corpus}: {values['clips']} held-out clips, chance {values['chance']:.1%}\n\n{_table(rows)}")
        if described := values.get("description"):
            claims = [("explanations", "claims supported", "contradicted", "supported by another clip's movement"), ("---",) * 4]
            for method, found in described["methods"].items():
                shares = (found[name] for name in ("supported", "contradicted", "shuffled_supported"))
                claims.append((method.replace("_", " "), *("none" if share is None else f"{share:.0%}" for share in shares)))
            parts.append(_table(claims))
    return "\n\n".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"|{'|'.join(row)}|" for row in rows)


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, str | bool | float]:
    """Those settings of a fine-tune by which runs usually differ."""
    names = ("stage", "llm", "encoder", "global_batch", "rehearsal", "views", "token_dropout", "encoder_share", "seed")
    described = settings["described_motions"]
    return {name: settings[name] for name in names} | {
        "corpora": ", ".join(settings["corpora"]),
        "steps": settings["max_steps"],
        "learning_rate": settings["peak_learning_rate"],
        "lora_rank": settings["lora"]["rank"],
        "described_motions": "all" if described is None else str(described),
    }


def final_results(metrics: Mapping[str, dict]) -> dict[str, float]:
    """Means over the corpora; of the claims, those in the likeliest (greedy) texts, which no judge has chosen."""
    results = {Tag.ACCURACY: [values["accuracy"] for values in metrics.values()]}
    for tag, name in ((Tag.SUPPORTED, "supported"), (Tag.CONTRADICTED, "contradicted")):
        found = [values["description"]["methods"][GREEDY][name] for values in metrics.values() if "description" in values]
        results[tag] = [share for share in found if share is not None]
    return {tag: sum(values) / len(values) for tag, values in results.items() if values}


def _examples(corpus: Corpus, records: Sequence[Mapping[str, Any]]) -> list[Example]:
    """Evenly spaced among the explained clips."""
    explained = [record for record in records if record.get("explained")]
    clips = {str(name): clip for clip, name in enumerate(corpus.names)}
    return [
        Example(
            corpus,
            clips[record["clip"]],
            record["predicted"],
            record["probabilities"][record["predicted"]],
            record["explanation"],
            record["explained"]["standing"],
        )
        for record in explained[:: max(1, -(-len(explained) // EXAMPLES))]
    ]
