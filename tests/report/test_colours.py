"""Text in the reports' colours can be read, light and dark."""

import itertools
import re

import pytest

from emotion_llm.report.page import ASSETS

LEAST_CONTRAST = 4.5
"""Web Content Accessibility Guidelines 2.2, level AA, criterion 1.4.3."""
STYLE = (ASSETS / "style.css").read_text(encoding="utf-8")
THEMES = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root[^{]*\{(.*?)\}", STYLE, re.DOTALL)]


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_guidelines():
    assert contrast("#ffffff", "#000000") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark", "dark by the system"])
def test_every_colour_of_text_stands_out_from_what_is_behind_it(theme):
    pairs = [*itertools.product(("ink", "soft", "accent", "good", "bad"), ("page", "card", "stage", "accent-soft"))]
    pairs += [*itertools.product(("s0", "s1", "s2", "s3"), ("card",)), ("card", "accent")]
    assert {
        pair: contrast(theme[pair[0]], theme[pair[1]]) for pair in pairs if contrast(theme[pair[0]], theme[pair[1]]) < LEAST_CONTRAST
    } == {}


def test_both_ways_to_the_dark_theme_give_the_same_colours():
    assert THEMES[1] == THEMES[2] and THEMES[0].keys() == THEMES[1].keys()
