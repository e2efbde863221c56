"""Pages: template, style, program and data in one HTML file that needs nothing else.

records as JSON values  ->  HTML text

Data never becomes markup: it is embedded as JSON that cannot end its element, and the program shows it as text only. The page's
content security policy names its one program and one style by their hashes and forbids all else, the network above all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotion_llm.report.clip import FORMAT, ReportClip, clip_record, line
from emotion_llm.runtime.output import printable

ASSETS = Path(__file__).parent / "assets"
GENERATOR = '<meta name="generator" content="emotion_llm">'
"""Stands in every page: it tells our pages from other people's."""
UNSAFE_IN_SCRIPT = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def clip_page(clips: Sequence[ReportClip], index: str | None = None) -> str:
    """The page of one clip, or of two side by side.

    Args:
        index: relative address of the page that lists this one among others.
    """
    title = " and ".join(line(clip.name) for clip in clips)
    plain = "\n\n".join(clip.answer.text() if clip.answer else line(clip.name) for clip in clips)
    link = f'<a href="{html.escape(index)}" target="_top">All clips</a>' if index else ""
    data = {"format": FORMAT, "clips": [clip_record(clip) for clip in clips]}
    programs = ("common.js", "scene.js", "clip.js")
    return render("clip.html", programs, data, title=html.escape(title), plain=html.escape(printable(plain)), index_link=link)


def render(template: str, programs: Sequence[str], data: Any, frames: bool = False, **values: str) -> str:
    """A template filled in.

    Args:
        data: JSON values for the program.
        frames: the page shows other pages of its folder in frames.
        values: HTML for the template's other places; already escaped.
    """
    style = _asset("style.css")
    script = '"use strict";\n' + "\n".join(_asset(program) for program in programs)
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    if frames:
        policy += "; frame-src 'self' file:"
    values |= {"policy": policy, "style": style, "script": script, "data": safe_json(data)}
    return re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], _asset(template))  # one pass: what is filled in is not searched


def safe_json(data: Any) -> str:
    """JSON that can stand in a script element: it holds no `<`, so neither `</script>` nor `<!--`.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(UNSAFE_IN_SCRIPT)


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
