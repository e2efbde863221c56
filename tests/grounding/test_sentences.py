"""The validation of grammar and judge: hand-written sentences with known movements and known verdicts.

Every line of sentences.jsonl: a text, the percentiles of the movement (moment -> quality; "change" is that from the first half to the
second), and the verdict on each of its claims; none where nothing can be checked. All other qualities stand at 80 or at 20, so a claim that a
text does not make would be judged, and found. The lines marked held_out were first looked at when the grammar was finished: 96.9 % of their
131 verdicts were right then (two labels have been corrected since). Sentences and grammar are by the same authors; another's wording may fare worse.
`python -m tests.grounding.test_sentences` prints the table of confusion.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from emotion_llm.grounding.claims import MOMENTS, QUALITIES, SIDES
from emotion_llm.grounding.grammar import read_claims
from emotion_llm.grounding.judge import judge_text

SENTENCES = [json.loads(line) for line in (Path(__file__).parent / "sentences.jsonl").read_text(encoding="utf-8").splitlines()]


def movement_of(record: dict, elsewhere: int) -> dict[str, dict[str, float]]:
    named = {name.removeprefix("left ").removeprefix("right ") for values in record["movement"].values() for name in values}
    families = {QUALITIES[name].family for name in named} - {""}
    filled = {
        quality.descriptor: 50 if quality.family in families else elsewhere for name, quality in QUALITIES.items() if name not in named
    }
    filled |= {f"{side}_{name}": value for side in SIDES for name, value in filled.items()}
    result: dict[str, dict[str, float]] = {moment: dict(filled) for moment in (*MOMENTS, "increasing")}
    for moment, values in record["movement"].items():
        for name, value in values.items():
            side, _, quality = name.partition(" ") if name.split(" ")[0] in SIDES else ("", "", name)
            descriptor = QUALITIES[quality].descriptor
            result["increasing" if moment == "change" else moment][f"{side}_{descriptor}" if side else descriptor] = value
    return result


def verdicts(record: dict, elsewhere: int) -> list[tuple[str, str]]:
    judged = judge_text(record["text"], movement_of(record, elsewhere)).claims
    return [(one.claim.quality, one.kind or one.verdict) for one in judged]


def confusion(records: list[dict]) -> Counter:
    """(known verdict, verdict of the judge) -> claims; "none" where there is no such claim."""
    table: Counter = Counter()
    for index, record in enumerate(records):
        known, found = [tuple(pair) for pair in record["verdicts"]], verdicts(record, (20, 80)[index % 2])
        for quality, verdict in known:
            same = next((pair for pair in found if pair[0] == quality), None)
            if same in found:
                found.remove(same)
            table[verdict, same[1] if same else "none"] += 1
        for _, verdict in found:
            table["none", verdict] += 1
        if not known and not verdicts(record, (20, 80)[index % 2]):
            table["none", "none"] += 1
    return table


def accuracy(table: Counter) -> float:
    return sum(count for (known, found), count in table.items() if known == found) / table.total()


@pytest.mark.parametrize("held_out", [False, True])
def test_verdicts_on_sentences_written_by_hand_are_right(held_out):
    records = [record for record in SENTENCES if record["held_out"] == held_out]
    assert len(SENTENCES) >= 300
    assert len(records) >= 100
    assert accuracy(confusion(records)) >= 0.95


@pytest.mark.parametrize("elsewhere", [20, 80])
def test_nothing_uncheckable_is_judged_true(elsewhere):
    for record in SENTENCES:
        if not record["verdicts"]:
            assert not read_claims(record["text"]).claims, record["text"]
            assert read_claims(record["text"]).uncheckable, record["text"]


if __name__ == "__main__":
    for held_out in (False, True):
        table = confusion([record for record in SENTENCES if record["held_out"] == held_out])
        print(f"{'held out' if held_out else 'seen'}: {table.total()} verdicts, {accuracy(table):.1%} right")
        for (known, found), count in sorted(table.items()):
            print(f"  {known:14} judged {found:14} {count}")
