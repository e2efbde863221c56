"""Claims in free English text, by rules that can be read: no model is asked.

text  ->  Statements: the claims, and the places that say something that cannot be checked

    sentence  = clauses between commas, conjunctions and "with"
    clause    = [moment] [subject] [verb] {modifier} pole [moment]        "in the second half the arms are clearly open"
              | {modifier} pole {, pole} part                             "small, quick steps"
              | pole article part                                         "raises the left hand"
    subject   = part {and part} | measure | pronoun                       "the head and the shoulders", "the speed", "they"
    modifier  = extent | negation | more | less | change                  "slightly", "not", "more", "increasingly"

Parts, measures and poles are the words of QUALITIES, compared by their stems. A clause without a subject has that of the clause before.
A pole is a claim only if its subject is a part that has this quality, and if every word between the two is known: an unknown word
might change the meaning. All else (moods, comparisons between parts, "as if", questions) is uncheckable, never true; so is the
name of a feeling, even where it could tell of a movement ("which reads as active").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from emotion_llm.grounding.claims import PARTS, QUALITIES, SIDES, Claim, Extent, Moment, Side

EXTENT_WORDS = {
    "slight": "slightly, a little, a bit, somewhat, mildly, a touch, relatively, fairly, moderately, almost, nearly, perhaps, maybe, "
    "possibly, gently, loosely, partly",
    "clear": "clearly, noticeably, visibly, distinctly, obviously, rather, quite, markedly, well, really, particularly, especially",
    "strong": "very, extremely, strongly, highly, exceptionally, deeply, far, greatly, heavily, remarkably, utterly, completely, fully, "
    "much, so, too, unusually, extraordinarily, intensely, sharply",
}
MOMENT_WORDS = {
    "throughout": "throughout, all the time, always, the whole time, all along, from start to finish, from beginning to end, constantly, "
    "the entire time, at all times, permanently, consistently",
    "beginning": "at the beginning, in the beginning, at first, initially, at the start, at the outset, first, to begin with, "
    "in the first third, early on, in the opening, at the very beginning",
    "middle": "in the middle, midway, halfway through, in the second third, around the middle, in the middle part",
    "end": "at the end, in the end, toward the end, towards the end, finally, at last, in the last third, in the final third, "
    "near the end, in the closing moments, at the close, by the end, at the very end",
    "first half": "in the first half, during the first half, over the first half, for the first half, the first half",
    "second half": "in the second half, during the second half, over the second half, later, afterwards, then, later on, "
    "for the second half, the second half",
}
CHANGE_WORDS = (
    "become, becomes, became, get, gets, got, grow, grew, increasingly, gradually, progressively, more and more, over time, "
    "little by little, as time goes on, as the clip goes on, step by step, bit by bit, in the course of the clip"
)
NEGATIONS = (
    "not, never, no, neither, without, cannot, hardly, barely, scarcely, rarely, seldom, by no means, not at all, far from, anything but"
)
CHANGING = {"slow down": "slow", "decelerate": "slow", "speed up": "fast", "accelerate": "fast", "quicken": "fast"}
"""Verbs that say a change of speed, and the adjective that it goes to."""
MEASURE_WORDS = {
    1: "high, large, great, big, strong, fast, quick, rapid, long, wide, elevated, sweeping, much, a lot of, plenty of, lots of",
    -1: "low, small, little, slow, reduced, limited, short, narrow, weak",
}
RISING, FALLING = "increase, grow, rise, go up, climb", "decrease, fall, drop, go down, decline, shrink, diminish"
IDIOMS = (
    "up and down, back and forth, left and right, on the other hand, on the one hand, in the long run, to a large extent, by and large, "
    "at the same time, at first glance, at first sight, in short, on the whole, in general, not only, no doubt, no wonder, in this clip, "
    "in this recording, in this sequence, here, also, too, than usual, than average, than normal, than in a neutral walk, than neutral, "
    "than others, than most, by comparison, than in neutral movement, than in the neutral clips, than typical, from side to side, "
    "there is, there are, we see, one sees, i think, it seems that, we can see that, one can see that, note that, the whole, overall"
)
"""Phrases that say nothing about the movement, though their words might."""
FUNCTION_WORDS = (
    "a, an, the, his, her, their, its, this, these, those, some, any, all, is, are, was, were, be, been, being, seem, appear, look, "
    "remain, stay, keep, hold, held, carry, carried, has, have, had, move, walk, swing, step, go, stand, show, display, take, make, "
    "use, perform, both, each, of, to, in, at, on, from, by, feel, do, did, does, can, one, lie, let, rest, sit, put, own, just, only, "
    "that, which, who, and, or, nor, but, with, while, whereas, although, though, because, since, as, when, so, yet, however, where, "
    "give, bring, turn, hang, pull, draw, press, place, position, execute, even, still, again, already, together, most, it, he, she, "
    "they, him, them, more, less, through, during, over, along, after, before, toward, towards, near, against, above, behind, under, "
    "below, between, into, beside, around, front, side, out, away, forward, backward, back, down, up, instead"
)
BOUNDARIES = (
    "and, or, nor, but, with, while, whereas, although, though, because, since, as, which, that, who, when, so, yet, however, where, "
    "then, after, before"
)
PREPOSITIONS = (
    "to, from, over, above, behind, before, against, on, near, beside, around, toward, towards, below, under, between, into, along, in, "
    "after"
)
SUSPENDING = (
    "as if, as though, if, would, should, could, might, unless, instead of, rather than, unlike, compared to, compared with, "
    "in contrast to, than, usually, normally, typically, least, like, imagine, may, must"
)
"""What follows up to the next comma is no statement about this movement."""
LABELLING = (
    "come across as, read as, interpreted as, perceived as, seen as, classified as, recognised as, recognized as, labelled as, labeled as, "
    "felt as, known as, suggest, express, convey, indicate, signal"
)
"""What follows up to the next conjunction or comma is the name of a feeling: "which reads as active"."""
DETERMINERS = "a, an, the, his, her, their, its, both, each, some, this, these, one, own"
HAVING = "has, have, with, by, of, in, take, make, show, display, use, perform, without, no, execute"
ARTICLES_OF_OBJECTS = "the, his, her, their, its, both, each, one, a"
PRONOUNS = "he, she, they, it, man, woman, dancer, child, boy, girl, individual"
_KEPT = frozenset((
    "shoulder", "upper", "heading", "never", "walker", "performer", "mover", "over", "under", "together", "rather", "other", "feet", "this",
    "less", "as", "is", "was", "has", "does", "note", "her", "dancer", "speed", "indeed", "need",
))  # fmt: skip
_IRREGULAR = {
    "hung": "hang", "leant": "lean", "swung": "swing", "kept": "keep", "stood": "stand", "rose": "rise", "risen": "rise", "sank": "sink",
    "sunk": "sink", "shrank": "shrink", "shook": "shake", "took": "take", "spun": "spin", "shown": "show", "made": "make",
    "given": "give", "went": "go", "his": "the", "her": "the", "their": "the", "its": "the", "barely": "hardly", "scarcely": "hardly",
    "goes": "go", "does": "do", "grown": "grow", "grew": "grow", "became": "become", "got": "get", "bigger": "big",
}  # fmt: skip
_TOKEN = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?|[,;:()–—]|[.!?]+(?=\s|$|[\"'’”)])")


def stem(word: str) -> str:
    """A word without its ending: "lowered", "lowering" and "lower" -> "low". Rules of our own; both texts and vocabulary go through it."""
    word = _IRREGULAR.get(word, word)
    for endings in (("ily", "ies", "ied", "ly", "s", "ed", "ing"), ("ier", "iest", "er", "est")):
        for ending in endings:
            rest = word[: -len(ending)]
            if word in _KEPT or not word.endswith(ending) or len(rest) < 3 or (ending == "s" and word[-2] in "sui"):
                continue
            doubled = rest[-1] == rest[-2] and rest[-1] in "bdgmnprt" and ending not in ("s", "ly")
            word = rest + "y" if ending.startswith("i") and ending != "ing" else rest[:-1] if doubled else rest
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 and word not in _KEPT else word


def _stems(phrases: str | Iterable[str]) -> Iterator[tuple[str, ...]]:
    for phrase in phrases.split(", ") if isinstance(phrases, str) else phrases:
        yield tuple(stem(word) for word in re.split(r"[ -]", phrase))


@dataclass(frozen=True)
class Statements:
    """What a text says of a movement."""

    claims: tuple[Claim, ...]
    uncheckable: tuple[tuple[int, int], ...]
    """Spans of what was said but cannot be checked."""
    repeated: tuple[tuple[int, int], ...] = ()
    """Spans of claims that were made before, in whatever words."""


def _vocabulary() -> dict[tuple[str, ...], dict]:
    """Phrase in stems -> what it can be: kind -> value. Kind "poles" has the list of (quality, direction, is a verb)."""
    entries: dict[tuple[str, ...], dict] = {}

    def enter(kind: str, value: object, phrases: str | Iterable[str]) -> None:
        for phrase in _stems(phrases):
            entries.setdefault(phrase, {})[kind] = value

    for kind, words in (("change", CHANGE_WORDS), ("negation", NEGATIONS), ("idiom", IDIOMS), ("function", FUNCTION_WORDS),
                        ("boundary", BOUNDARIES), ("preposition", PREPOSITIONS), ("suspends", SUSPENDING), ("labels", LABELLING),
                        ("determiner", DETERMINERS),
                        ("having", HAVING), ("pronoun", PRONOUNS)):  # fmt: skip
        enter(kind, True, words)
    for kind, table in (("extent", EXTENT_WORDS), ("moment", MOMENT_WORDS), ("degree", MEASURE_WORDS), ("part", PARTS)):
        for value, synonyms in table.items():
            enter(kind, value, synonyms)
    enter("course", 1, RISING)
    enter("course", -1, FALLING)
    for side in SIDES:
        enter("side", side, side)
    for name, quality in QUALITIES.items():
        enter("measure", name, quality.nouns)
        for direction in (-1, 1):
            pole = quality.pole(direction)
            for phrases, is_verb in ((pole.adjectives, False), (pole.verbs, True)):
                for phrase in _stems(phrases):
                    entries.setdefault(phrase, {}).setdefault("poles", []).append((name, direction, is_verb))
    for verb, adjective in CHANGING.items():
        entries[next(_stems([verb]))] = {"poles": entries[(stem(adjective),)]["poles"], "change": True}
    return entries


VOCABULARY = _vocabulary()
LONGEST = max(map(len, VOCABULARY))
COMPOUNDS = (("movement",), ("motion",), ("gesture",), ("swing",))
"""Nouns that turn the part before them into an adjective."""
AMBIGUOUS = frozenset(stem(word) for word in ("back", "walk", "step", "stride", "way", "course", "head", "subject", "gesture"))
"""Nouns of PARTS that are verbs or adverbs too: parts only after an article, an adjective or a preposition, or at the start."""


@dataclass(frozen=True)
class _Item:
    """A phrase of the vocabulary, an unknown word, or a comma."""

    kinds: dict
    stems: tuple[str, ...]
    word: str
    start: int
    end: int
    extent: Extent | None = None
    """Of a modifier inside the phrase: "leans slightly forward"."""

    def __contains__(self, kind: str) -> bool:
        return kind in self.kinds

    @property
    def is_verb(self) -> bool:
        return any(verb for _, _, verb in self.kinds.get("poles", ()))

    @property
    def describes(self) -> bool:
        return "poles" in self.kinds or "degree" in self.kinds


_NOTHING = _Item({}, ("",), "", 0, 0)
"""Before the first and behind the last word of a sentence."""


def _items(text: str) -> list[_Item]:
    tokens = [(match.group().lower().replace("’", "'"), match.start(), match.end()) for match in _TOKEN.finditer(text)]
    stems = [stem(word) for word, _, _ in tokens]
    items, place = [], 0
    while place < len(tokens):
        word, start, end = tokens[place]
        if not word[0].isalpha() or word.endswith("n't"):
            kinds: dict = {"negation": True} if word[0].isalpha() else {"boundary": True, "stop": True}
            items.append(_Item(kinds, (word,), word, start, end))
            place += 1
            continue
        phrase, last, kinds, extent = _longest(stems, place)
        items.append(_Item(kinds, phrase, word, start, tokens[last][2], extent))
        place = last + 1
    return items


def _longest(stems: list[str], place: int) -> tuple[tuple[str, ...], int, dict, Extent | None]:
    """The longest phrase of the vocabulary from here on, where it ends, what it is, and the modifier that it encloses."""
    for length in range(min(LONGEST, len(stems) - place), 0, -1):
        phrase = tuple(stems[place : place + length])
        if phrase in VOCABULARY:
            return phrase, place + length - 1, VOCABULARY[phrase], None
        for inner in range(1, length - 1):  # one modifier may stand inside
            extent = VOCABULARY.get((phrase[inner],), {}).get("extent")
            without = phrase[:inner] + phrase[inner + 1 :]
            if extent and "poles" in VOCABULARY.get(without, {}):
                return without, place + length - 1, VOCABULARY[without], extent
    return (stems[place],), place, {}, None


Subject = tuple[str, Side | None]
"""A part or "=measure", and a side."""


@dataclass
class _Draft:
    claim: Claim
    """Without its moment."""
    changing: bool
    place: int
    segment: int


@dataclass
class _Sentence:
    """Reads one sentence from left to right."""

    items: list[_Item]
    before: list[Subject] = field(default_factory=list)
    """Subject of the sentence before, for pronouns."""
    subject: list[Subject] = field(default_factory=list)
    drafts: list[_Draft] = field(default_factory=list)
    moments: list[tuple[int, int, Moment]] = field(default_factory=list)
    unbound: list[tuple[int, int]] = field(default_factory=list)
    noun: int = -1
    """Place of the subject."""
    told: bool = False
    """An adjective before it has told of it: "short steps, ..." does not go on as a list of subjects."""
    waiting: list[int] = field(default_factory=list)
    """Adjectives whose noun comes next."""
    negated: bool = False
    less: bool = False
    changing: bool = False
    extent: Extent = "clear"
    suspended: bool = False
    labelling: bool = False
    dangling: list[int] = field(default_factory=list)
    """Adjectives before any subject: "bent forward, he walks"."""
    said: bool = False
    """The clause has made its statement: unknown words after it change nothing."""
    segment: int = 0
    person: bool = False
    """The subject is a pronoun, which may mean the person: "they"."""
    outer: list[Subject] = field(default_factory=list)
    """Subject before "with"."""

    def read(self) -> None:
        for place, item in enumerate(self.items):
            self._step(place, item)
        self.subject = [] if self.dangling else self.subject
        self._bind_dangling()

    @property
    def measured(self) -> str:
        """The quality whose measure is the subject ("the speed"), or nothing."""
        return self.subject[0][0][1:] if self.subject and self.subject[0][0].startswith("=") else ""

    def _item(self, place: int) -> _Item:
        return self.items[place] if 0 <= place < len(self.items) else _NOTHING

    def _step(self, place: int, item: _Item) -> None:
        after = self._item(place + 1)
        if "stop" in item or item.word in ("but", "while", "whereas"):
            self.suspended = False
        if "suspends" in item:
            self.suspended = True
        if "labels" in item or "boundary" in item:
            self.labelling = "labels" in item
        if "moment" in item:
            self.moments.append((place, self.segment, item.kinds["moment"]))
        if "boundary" in item:
            self._boundary(item)
        elif "change" in item and not item.describes:
            self.changing = True
            if self.drafts and self.said and self.drafts[-1].segment == self.segment:  # "the head sinks gradually"
                self.drafts[-1].changing = True
        elif item.word in ("more", "most"):
            pass
        elif item.word == "less":
            self.less = True
        elif "negation" in item:
            self.negated = not self.negated
        elif item.word in ("still", "even") and (after.describes or "negation" in after or "extent" in after):
            pass
        elif "measure" in item:
            self._noun(place, (f"={item.kinds['measure']}", None))
        elif "part" in item and after.stems in COMPOUNDS and not item.word.endswith("s"):
            pass  # "arm movements" are the arms
        elif item.stems in COMPOUNDS and "part" in (before := self._item(place - 1)) and not before.word.endswith("s"):
            self._noun(place - 1, (before.kinds["part"], None))
        elif "part" in item and self._is_noun(place, item):
            self._noun(place, (item.kinds["part"], self._item(place - 1).kinds.get("side")))
        elif "pronoun" in item:
            others = self.subject or self.before if item.word in ("it", "they") else []
            self.subject, self.person, self.said, self.noun = others[:1] or [("body", None)], True, False, place
            self._bind_dangling()
        elif self.labelling and item.describes:
            pass
        elif item.describes or ("course" in item and self.measured):
            self._pole(place, item)
        elif "extent" in item:
            if self.drafts and self.said and self.drafts[-1].place == place - 1 and not after.describes:
                self.drafts[-1].claim = replace(self.drafts[-1].claim, extent=item.kinds["extent"])  # "is raised slightly"
            else:
                self.extent = item.kinds["extent"]
        elif not item.kinds and not item.word.endswith("ly") and not self.said:
            self.subject = []  # an unknown word might be the subject, or change the meaning

    def _boundary(self, item: _Item) -> None:
        """A new clause keeps its subject until it names one."""
        if item.word not in ("or", "nor", "as", "so"):
            self.negated = False
        if item.word == "nor":
            self.negated = True
        self.outer = self.subject if item.word == "with" else []
        self.less, self.said, self.extent = False, False, "clear"
        self.segment += 1

    def _is_noun(self, place: int, item: _Item) -> bool:
        before = self._item(place - 1)
        return item.stems[0] not in AMBIGUOUS or not before.kinds or before.describes or any(
            kind in before for kind in ("determiner", "side", "having", "preposition", "boundary", "extent")
        )  # fmt: skip

    def _noun(self, place: int, noun: Subject) -> None:
        self.person = False
        first = self._before_article(place)
        before, last = self._item(first), self._item(place - 1)
        waiting, self.waiting = self.waiting, []
        self.noun = -1 if waiting else self.noun
        for adjective in waiting:
            self._draft(adjective, [noun])
        if before.word == "of" and not waiting:
            if self.measured:  # "the speed of the hands"
                own = QUALITIES[self.measured]
                same = [name for name, other in QUALITIES.items() if own.family and other.family == own.family and other.part == noun[0]]
                if noun[0] not in own.parts:
                    self.subject = [(f"={same[0]}", noun[1])] if same else []
            elif self.subject == [("body", None)]:  # "the movement of the arms"
                self.subject = [noun]
        elif "preposition" in before or (before.word == "at" and self.said):
            return  # "over the head", "bent at the elbows"
        elif before.word in ("and", "or", "nor", ",") and self._is_part(first - 1) and not waiting and self.subject and not self.told:
            self.subject.append(noun)
        elif last.word in ("one", "each", "other") or (
            last.word.endswith("'s") and "part" not in VOCABULARY.get((stem(last.word[:-2]),), {})
        ):
            self.subject = []  # one of two, or another one's
        else:
            if self.subject and self.subject[0] != noun:
                self.changing = False
            self.subject, self.noun, self.told = [noun], place, bool(waiting)
            self._bind_dangling()
        self.said = bool(waiting)

    def _bind_dangling(self) -> None:
        """Gives the adjectives before the subject to it, or finds that nothing is said with them."""
        dangling, self.dangling = self.dangling, []
        for place in dangling:
            self._draft(place, self.subject)
        self.said = False

    def _is_part(self, place: int) -> bool:
        return "part" in self._item(place) or "measure" in self._item(place)

    def _before_article(self, place: int) -> int:
        """Where the word is that stands before a noun with its article and side."""
        while "determiner" in self._item(place - 1) or "side" in self._item(place - 1):
            place -= 1
        return place - 1

    def _pole(self, place: int, item: _Item) -> None:
        before, after, adverb = self._item(place - 1), self._item(place + 1), item.word.endswith("ly")
        if adverb and ("poles" in after or "course" in after):
            self.changing |= "change" in item  # "slowly sinks": how it changes, not how it moves throughout
        elif ("part" in after and not adverb and self._is_attribute(place)) or "measure" in after or self._joins_attributes(place):
            self.waiting.append(place)
        elif (thing := self._object(place)) is not None:
            self._draft(place, [thing])
        elif "poles" not in item and not self.measured:
            pass  # "large" of something that is no measure
        elif "determiner" in before or (not adverb and self._describes_something_else(item, after)):
            self._unbound(item)  # "a strong sense of fear", "open to new ideas"
        elif item.is_verb and self.said and self.outer:  # "the woman with the bowed head moves slowly"
            self._draft(place, self.outer)
        elif not self.subject and not self.drafts and self._before_adjectives(place) < 0:
            self.dangling.append(place)
        else:
            self._draft(place, self.subject)

    def _describes_something_else(self, item: _Item, after: _Item) -> bool:
        unknown = after is not _NOTHING and not after.kinds and not after.word.endswith("ly") and len(item.stems) == 1 and not item.is_verb
        return unknown or (after.word == "to" and self.subject == [("body", None)])

    def _before_adjectives(self, place: int) -> int:
        """Where the word is that stands before a row of adjectives."""
        first = place - 1
        while "extent" in (item := self._item(first)) or item.word in ("more", "less", ",", "and") or item.describes:
            first -= 1
        return first

    def _is_attribute(self, place: int) -> bool:
        """An adjective before its noun: not one that a verb has just given to the subject."""
        opening, last = self._item(self._before_adjectives(place)), self._item(place - 1)
        if opening is _NOTHING or last.word in ("and", ","):
            return True
        kinds = ("boundary", "determiner", "having", "preposition", "negation", "side", "moment")
        return any(kind in opening for kind in kinds) or ("function" in opening and not self.subject)

    def _joins_attributes(self, place: int) -> bool:
        """Whether only adjectives, known or not, stand between here and a noun: "slow" in "slow, heavy steps"."""
        end = place + 1
        if not ((item := self._item(end)).describes or item.word in (",", "and", "or")):
            return False
        while (item := self._item(end)) is not _NOTHING and (
            not item.kinds or item.describes or item.word in (",", "and", "or") or "extent" in item
        ):
            end += 1
        last, opening = self._item(end - 1), self._item(self._before_adjectives(place))
        opens = opening is _NOTHING or any(kind in opening for kind in ("determiner", "having", "boundary", "negation"))
        return opens and self._is_part(end) and last.word not in (",", "and", "or")

    def _object(self, place: int) -> Subject | None:
        """The part that follows a verb with an article: "raises the left hand"."""
        side, first = None, place + 1
        if self._item(first).word == "at":  # "bent at the knees"
            first += 1
        elif not self.items[place].is_verb and not self._stands_for_verb(place):
            return None
        while (item := self._item(first)).word in ARTICLES_OF_OBJECTS.split(", ") or "side" in item:
            side = item.kinds.get("side", side)
            first += 1
        if first == place + 1 or "part" not in item or (item.word == "body" and len(self.items[place].stems) > 1):
            return None
        return (item.kinds["part"], side) if _resolve(self.items[place], item.kinds["part"]) else None

    def _stands_for_verb(self, place: int) -> bool:
        return self.items[place].word.endswith(("s", "ed", "ing")) or self.subject in ([], [("body", None)])

    def _draft(self, place: int, subjects: list[Subject]) -> None:
        item = self.items[place]
        self.said = True
        if self.suspended or self._compares(place):
            return self._unbound(item)
        found = [(resolved, side) for part, side in subjects if (resolved := _resolve(item, part))]
        of_person = subjects == [("body", None)] or (not subjects and not self.drafts and place == 0)
        if not found and of_person and (owner := _sole_owner(item)):
            found = [(owner, None)]
        if not found:
            return self._unbound(item)
        for (quality, direction, course), side in found:
            direction = -direction if self.less else direction
            span = (self.items[self._first_of_claim(place)].start, item.end)
            claim = Claim(quality, direction, side, extent=item.extent or self.extent, negated=self.negated, span=span)
            self.drafts.append(_Draft(claim, self.changing or course or "change" in item, place, self.segment))
        self.extent, self.less = "clear", False

    def _first_of_claim(self, place: int) -> int:
        """Its subject with the article, if that stands before it and has not been told of before."""
        first = self.noun
        if not 0 <= first < place or any(first < draft.place < place for draft in self.drafts):
            return place
        return self._before_article(first) + 1

    def _compares(self, place: int) -> bool:
        """ "As fast as usual", and "faster than the feet"."""
        before, after = self._item(place - 1), self._item(place + 1)
        if before.word in ("as", "so") and after.word == "as":
            return not self.negated
        if after.word == "than" and "idiom" not in after:
            for item in self.items[place + 2 :]:
                if "part" in item:
                    return True
                if "boundary" in item or "side" in item:
                    return False
        return False

    def _unbound(self, item: _Item) -> None:
        self.unbound.append((item.start, item.end))
        self.extent, self.less = "clear", False

    def claims(self) -> list[Claim]:
        return [replace(draft.claim, moment=self._moment(draft)) for draft in self.drafts]

    def _moment(self, draft: _Draft) -> Moment:
        if draft.changing:
            return "increasing" if draft.claim.direction > 0 else "decreasing"
        own = [(abs(place - draft.place), moment) for place, segment, moment in self.moments if segment == draft.segment]
        if own:
            return min(own)[1]
        said = [other.segment for other in self.drafts]
        leading = [
            moment for place, segment, moment in self.moments if place < draft.place and segment not in said[: said.index(draft.segment)]
        ]
        if leading:
            return leading[-1]
        late = [moment for place, segment, moment in self.moments if segment not in said and place > self.drafts[-1].place]
        return late[0] if late and draft is self.drafts[-1] else "throughout"


def _resolve(item: _Item, part: str) -> tuple[str, int, bool] | None:
    """Quality, direction, and whether a measure rises or falls, that a phrase says of a part; a longer phrase before one in it."""
    if part.startswith("="):
        if "course" in item:
            return part[1:], item.kinds["course"], True
        if own := [direction for name, direction, _ in item.kinds.get("poles", ()) if name == part[1:]]:
            return part[1:], own[0], False
        return (part[1:], item.kinds["degree"], False) if "degree" in item else None
    size = len(item.stems)
    for length in range(size, 0, -1):
        for start in range(size - length + 1):
            if length < size and "and" in item.stems:
                return None
            poles = VOCABULARY.get(item.stems[start : start + length], {}).get("poles", ())
            fitting = [(name, direction) for name, direction, _ in poles if part in QUALITIES[name].parts]
            if fitting:
                return *min(fitting, key=lambda pole: QUALITIES[pole[0]].part != part), False
    return None


def _sole_owner(item: _Item) -> tuple[str, int, bool] | None:
    """What a verb says of a person where only one part can do it: "nods", "looks down"."""
    verbs = [(name, direction) for name, direction, verb in item.kinds.get("poles", ()) if verb]
    return (*verbs[0], False) if len(verbs) == 1 else None


def read_claims(text: str) -> Statements:
    """What a text claims of a movement, in its order.

    A claim that a sentence makes again is one claim. A sentence without a claim is uncheckable as a whole, and so is a pole that could not be given
    to a part.
    """
    claims: list[Claim] = []
    made: set[Claim] = set()  # without place and extent
    uncheckable: list[tuple[int, int]] = []
    repeated: list[tuple[int, int]] = []
    sentence: list[_Item] = []
    before: list[Subject] = []
    for item in [*_items(text), None]:
        if item is not None and item.word[0] not in ".!?":
            sentence.append(item)
            continue
        reading = _Sentence(sentence, before)
        if item is None or "?" not in item.word:
            reading.read()
        found = reading.claims()
        in_sentence: set[Claim] = set()
        for claim in found:
            if claim.plain not in in_sentence:
                claims.append(claim)
            if claim.plain in made and claim.span:
                repeated.append(claim.span)
            in_sentence.add(claim.plain)
            made.add(claim.plain)
        uncheckable += reading.unbound
        if sentence and not found and not reading.unbound:
            uncheckable.append((sentence[0].start, sentence[-1].end))
        before, sentence = reading.subject or before, []
    return Statements(tuple(claims), tuple(uncheckable), tuple(repeated))
