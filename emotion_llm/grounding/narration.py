"""A prepared corpus gets generated descriptions: for corpora that come without any.

Corpus, Split  ->  narration.csv (clip and text), narration.jsonl (the same with the claims of each text) in the corpus's folder

Clips that users have described keep their descriptions and get no others. All clips are narrated by the norms of the training clips;
texts of held-out clips are references for the evaluation and never train.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from emotion_llm.corpus.splits import Split
from emotion_llm.corpus.store import Corpus, add_narration
from emotion_llm.grounding.narrator import narrate
from emotion_llm.grounding.norms import make_norms, measure_corpus, save_norms
from emotion_llm.runtime.console import is_first_rank
from emotion_llm.runtime.errors import UserError
from emotion_llm.runtime.processes import gather_over_processes

WORDINGS = 3
"""Texts per clip, of the same claims in other words: fewer where the wordings are equal (our choice)."""


def narrate_corpus(corpus: Corpus, split: Split, seed: int) -> int:
    """Writes texts for every clip that has no description of its own; replaces an earlier narration.

    Returns:
        The number of narrated clips.
    """
    measured = measure_corpus(corpus)
    norms = make_norms(corpus, split, measured)
    lines, texts = [], {}
    for index in range(len(corpus)):
        clip = corpus.clip(index)
        if clip.texts and not clip.generated:
            continue
        told = {}
        for wording in range(WORDINGS):
            rng = np.random.default_rng([seed, wording, int(corpus.clips["movement"][index])])
            text, claims = narrate(measured[index], norms, clip.emotion, rng)
            told[text] = [asdict(claim) for claim in claims]
        texts[clip.name] = list(told)
        lines += [{"clip": clip.name, "text": text, "generated": True, "claims": claims} for text, claims in told.items()]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([["file", "text"], *([line["clip"], line["text"]] for line in lines)])
    records = "".join(json.dumps(line) + "\n" for line in lines)
    add_narration(corpus, texts, {"narration.csv": table.getvalue(), "narration.jsonl": records}, split.split_hash)
    return len(texts)


def norms_for_run(run: Path, corpus: Corpus, split: Split) -> None:
    """Saves the norms of the training clips with a description run; every rank must call it.

    Raises:
        UserError: the corpus was narrated for another split.
    """
    narrated_for = corpus.narration.get("split_hash", split.split_hash)
    if narrated_for != split.split_hash:
        raise UserError(
            f"corpus '{corpus.name}': its texts were narrated for another split ({narrated_for[:12]}, the encoder's is {split.split_hash[:12]}); "
            f"narrate it again with launch/prepare.py --corpus {corpus.name} --output {corpus.folder.parent} --narrate and the encoder's --split"
        )
    if is_first_rank():
        save_norms(run, make_norms(corpus, split))
    gather_over_processes(None)  # the others wait: they find the corpus measured
