"""Reports in a real browser: what is drawn, moves and answers to mouse and keys, without errors and without the network.

Needs Chromium and its driver (Debian: apt-get install chromium chromium-driver); the tests are skipped where they are missing.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from emotion_llm.inference.answer import ranked
from emotion_llm.motion.layout import known_layouts
from emotion_llm.report.folder import write_reports
from emotion_llm.report.page import clip_page
from tests.helpers.report_examples import EXPLANATION, example_clip

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no chromium or no chromedriver (Debian: apt-get install chromium chromium-driver)"
    ),
]
LEAST_FRAMES_PER_SECOND = 20
"""Drawn without a GPU on a core that other tests use too; the figures that were measured are in the messages."""


class Page(Chrome):
    """A browser without a window, and short words for what the tests ask of it."""

    def __init__(self, *arguments: str) -> None:
        options = ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for argument in ("--headless=new", "--disable-gpu", "--window-size=1360,900", *arguments):
            options.add_argument(argument)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chromium refuses its sandbox to root
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        super().__init__(options, Service(DRIVER))

    def show(self, path: Path) -> None:
        self.get(path.as_uri())
        self.wait("return document.readyState === 'complete'")

    def js(self, code: str) -> Any:
        return self.execute_script(code)

    def wait(self, code: str, seconds: float = 10) -> None:
        WebDriverWait(self, seconds).until(lambda _: self.js(code), code)

    def one(self, selector: str):
        return self.find_element(By.CSS_SELECTOR, selector)

    def press(self, *keys: str) -> None:
        ActionChains(self).send_keys(*keys).perform()

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def ink(self) -> int:
        """Pixels of the first clip's picture that are not empty."""
        return self.js(
            "const c = views[0].canvas, d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n"
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with Page() as page:
        yield page


def write(path: Path, *clips) -> Path:
    path.write_text(clip_page(clips), encoding="utf-8")
    return path


@pytest.mark.parametrize("layout", known_layouts())
def test_every_layout_plays_scrubs_and_answers_clicks_on_claims(browser, tmp_path, layout):
    browser.show(write(tmp_path / "clip.html", example_clip(layout)))
    browser.wait("return state.playing && state.time > 0.3")
    browser.one("#play").click()
    stopped = browser.js("return state.time")
    time.sleep(0.2)
    assert browser.js("return state.time") == stopped and browser.one("#play").get_attribute("aria-label") == "Play"
    assert browser.ink() > 5000

    browser.js("byId('scrub').value = 30; byId('scrub').dispatchEvent(new Event('input'))")
    browser.wait("return byId('scrub').getAttribute('aria-valuetext') === '1.00 s of 4.97 s'")
    assert browser.one("#frame").text == "frame 31 of 150"

    claim = browser.one(".explanation .contradicted")
    assert claim.text.replace("\u2060", "") == "✕the head is bowed" and claim.get_attribute("aria-pressed") == "false"
    claim.click()
    browser.wait("return Math.abs(state.time - 2 / 3 * lastTime()) < 0.01")
    assert {joint.split("_")[0].lower() for joint in browser.js(
        "return views[0].record.claims[1].joints.map((j) => views[0].record.parts[j])"
    )} == {"head"}  # fmt: skip
    assert "contradicted by the movement" in browser.one(".caption").text and browser.one(".range").is_displayed()
    assert browser.one(".claims .contradicted").get_attribute("aria-pressed") == "true"
    claim.click()
    assert not browser.one(".caption").is_displayed()
    assert browser.errors() == []


def test_the_keyboard_alone_is_enough(browser, tmp_path):
    browser.show(write(tmp_path / "clip.html", example_clip()))
    browser.press(" ", Keys.HOME)
    browser.wait("return !state.playing && state.time === 0")
    browser.press(Keys.ARROW_RIGHT, ".", Keys.ARROW_RIGHT, ",")
    browser.wait("return byId('frame').textContent === 'frame 3 of 150'")
    browser.press("f", "t", "n", "c", "]")
    assert browser.js("return [state.follow, state.trail, state.names, state.byWeight, state.speed]") == [False, True, True, False, 2]
    browser.js("views[0].canvas.focus()")
    yaw = browser.js("return state.orbit.yaw")
    browser.press(Keys.ARROW_LEFT, "+")
    assert browser.js("return state.orbit.yaw") < yaw and browser.js("return state.orbit.zoom") > 1
    assert browser.js("return byId('frame').textContent") == "frame 3 of 150"  # arrows in the picture turn it
    browser.js("document.querySelector('.explanation .claim').focus()")
    browser.press(Keys.ENTER)
    assert browser.js("return views[0].selected") == 0
    browser.press(Keys.ESCAPE, "?")
    assert browser.js("return views[0].selected") is None and browser.one("#help").is_displayed()
    browser.press(Keys.ESCAPE)
    assert browser.errors() == []


def test_dragging_turns_the_view_and_the_wheel_zooms(browser, tmp_path):
    browser.show(write(tmp_path / "clip.html", example_clip()))
    canvas = browser.one(".stage canvas")
    before = browser.js("return {...state.orbit}")
    ActionChains(browser).click_and_hold(canvas).move_by_offset(80, 30).release().perform()
    ActionChains(browser).scroll_from_origin(origin(canvas), 0, -300).perform()
    browser.wait(f"return state.orbit.zoom > {before['zoom']}")
    after = browser.js("return {...state.orbit}")
    assert after["yaw"] < before["yaw"] and after["pitch"] > before["pitch"]


def touch(browser, *steps: list[tuple[float, float]]) -> None:
    """Fingers that touch the screen, move and leave it: their places at each step."""
    for number, fingers in enumerate(steps):
        places = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(fingers)]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchMove" if number else "touchStart", "touchPoints": places})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_fingers_zoom_turn_and_scroll(browser, tmp_path):
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 5})
        browser.show(write(tmp_path / "clip.html", example_clip()))
        box = browser.one(".stage canvas").rect
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for across, down in ((1, 0), (0, 1)):
            browser.js("resetView()")
            touch(
                browser, *[[(x - across * apart, y - down * apart), (x + across * apart, y + down * apart)] for apart in range(30, 91, 6)]
            )
            browser.wait("return state.orbit.zoom > 2")
            assert browser.js("return [state.orbit.yaw, scrollY, visualViewport.scale]") == [0.5, 0, 1]
        touch(browser, *[[(x + moved, y)] for moved in range(0, 60, 6)])
        browser.wait("return state.orbit.yaw < 0.3")
        pitch = browser.js("return state.orbit.pitch")
        touch(browser, *[[(x, y - moved)] for moved in range(0, 150, 6)])
        browser.wait("return scrollY > 50")
        assert browser.js("return state.orbit.pitch") == pitch
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_report_that_is_dropped_on_the_page_is_shown_beside_it(browser, tmp_path):
    other = write(tmp_path / "other.html", example_clip("emilya_28", 40, "other"))
    browser.show(write(tmp_path / "clip.html", example_clip()))
    for kind in ("dragEnter", "dragOver", "drop"):
        marked = browser.js("return document.body.classList.contains('dragging')")
        data = {"items": [], "files": [str(other)], "dragOperationsMask": 1}
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
    assert marked  # until it was dropped
    browser.wait("return views.length === 2 && views[1].record.name === 'other' && !document.body.classList.contains('dragging')")
    assert browser.errors() == []


def test_raised_hands_are_whole_in_the_row_of_poses(browser, tmp_path):
    clip = example_clip()
    positions = clip.motion.positions.copy()
    positions[:, clip.motion.layout.landmarks["left_wrist"], 1] = 2.2
    browser.show(write(tmp_path / "clip.html", replace(clip, motion=replace(clip.motion, positions=positions))))
    browser.js("play(false)")
    assert browser.js("return views[0].motion.top") == pytest.approx(2.2, abs=0.01)
    browser.wait("return views[0].film.width > 300")
    ink = "const c = views[0].film; return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].map((v, i) => v && i).filter(Boolean)"
    places = browser.js(ink)
    assert places and min(places) // (4 * browser.js("return views[0].film.width")) > 1  # rows of pixels free above
    browser.errors()  # reads it once more than Chromium likes


def origin(element):
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    return ScrollOrigin.from_element(element)


def test_a_click_on_the_timeline_or_a_segment_goes_there(browser, tmp_path):
    browser.show(write(tmp_path / "clip.html", example_clip(long=True)))
    browser.js("play(false)")
    lanes = browser.one(".curve")
    ActionChains(browser).move_to_element_with_offset(lanes, lanes.size["width"] // 4, 0).click().perform()
    browser.wait("return Math.abs(state.time / lastTime() - 0.75) < 0.01")
    browser.find_elements(By.CSS_SELECTOR, ".segments button")[1].click()
    browser.wait("return Math.abs(state.time / lastTime() - 0.5) < 0.01")
    browser.find_elements(By.CSS_SELECTOR, ".explanation .contradicted")[1].click()  # at the end of the second segment
    browser.wait("return Math.abs(state.time / lastTime() - 5 / 6) < 0.01")
    assert browser.one(".emotion").text == "anger → sadness" and browser.errors() == []


def test_two_clips_of_different_lengths_keep_step(browser, tmp_path):
    browser.show(write(tmp_path / "two.html", example_clip(), example_clip("kinect_v2_25", 60, "short")))
    browser.js("play(false); seek(1)")
    assert browser.js("return views.map((view) => Math.round(view.frame))") == [30, 30]
    browser.js("seek(4)")
    assert browser.js("return views.map((view) => Math.round(view.frame))") == [120, 59]
    browser.one("#phase").click()
    browser.js("seek(lastTime() / 2)")
    assert browser.js("return views.map((view) => view.frame / (view.motion.frames - 1))") == [0.5, 0.5]
    browser.one(".clip:nth-child(2) .close").click()
    assert browser.js("return views.length") == 1 and not browser.one("#phase").is_displayed()
    assert browser.errors() == []


def test_another_report_can_be_opened_beside_and_other_files_are_refused(browser, tmp_path):
    other = write(tmp_path / "other.html", example_clip("emilya_28", 40, "other"))
    (tmp_path / "wrong.html").write_text("<p>nothing")
    browser.show(write(tmp_path / "clip.html", example_clip()))
    browser.one("#file").send_keys(str(other))
    browser.wait("return views.length === 2 && views[1].record.name === 'other'")
    browser.one("#file").send_keys(str(tmp_path / "wrong.html"))
    browser.wait("return byId('message').textContent.startsWith('wrong.html is no report of a clip')")
    (tmp_path / "newer.html").write_text(other.read_text(encoding="utf-8").replace('"format":1', '"format":2'), encoding="utf-8")
    browser.one("#file").send_keys(str(tmp_path / "newer.html"))
    browser.wait(
        "return byId('message').textContent.includes('newer.html is no report of a clip (another version of the report wrote it)')"
    )
    assert browser.js("return views.length") == 2 and browser.errors() == []


def test_hostile_names_do_nothing(browser, tmp_path):
    hostile = "</script><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
    clip = example_clip(name=hostile)
    assert clip.answer is not None
    clip = replace(clip, actor=hostile, truth=hostile, texts=(hostile,), answer=replace(clip.answer, explanation=EXPLANATION + hostile))
    index = write_reports(tmp_path, hostile, [clip])
    for page in (index, *(tmp_path / "clips").iterdir()):
        browser.show(page)
        time.sleep(0.3)
        assert browser.title == hostile
        assert browser.js("return document.querySelectorAll('img').length") == 0
        assert hostile in browser.one("main").text and browser.errors() == []


def test_the_network_is_forbidden(browser, tmp_path):
    browser.show(write(tmp_path / "clip.html", example_clip()))
    browser.js(
        "window.blocked = []; addEventListener('securitypolicyviolation', (event) => blocked.push(event.effectiveDirective));"
        "fetch('http://127.0.0.1:9/').catch(() => {}); new Image().src = 'http://127.0.0.1:9/x.png';"
        "document.head.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))"
    )
    browser.wait("return blocked.length >= 3")
    assert set(browser.js("return blocked")) == {"connect-src", "img-src", "script-src-elem"} and not browser.js("return window.ran")
    browser.get_log("browser")


def test_colours_follow_the_system_and_can_be_changed(browser, tmp_path):
    browser.show(write(tmp_path / "clip.html", example_clip()))
    light = browser.js("return getComputedStyle(document.body).backgroundColor")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    dark = browser.js("return getComputedStyle(document.body).backgroundColor")
    assert light != dark
    browser.one("#theme").click()
    assert browser.js("return getComputedStyle(document.body).backgroundColor") == light
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.js("localStorage.clear()")


def test_paper_is_light(browser, tmp_path):
    browser.show(write(tmp_path / "clip.html", example_clip()))
    browser.js("play(false); setTheme('dark')")
    ink = browser.js("return state.colours.ink")
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert browser.js("return [themeNow(), state.colours.ink === arguments[0]]".replace("arguments[0]", f"'{ink}'")) == ["light", False]
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert browser.js("return [themeNow(), state.colours.ink]") == ["dark", ink]


def test_reduced_motion_starts_still(tmp_path):
    with Page("--force-prefers-reduced-motion") as browser:
        browser.show(write(tmp_path / "clip.html", example_clip()))
        time.sleep(0.5)
        assert browser.js("return [state.playing, state.time]") == [False, 0]


def test_a_phone_needs_no_sideways_scrolling(browser, tmp_path):
    index = write_reports(tmp_path, "all", answers())
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
        for page in (index, write(tmp_path / "clip.html", example_clip(long=True)), write(tmp_path / "two.html", *[example_clip()] * 2)):
            browser.show(page)
            assert browser.js("return document.documentElement.scrollWidth") <= 390
            assert browser.errors() == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def answers():
    """Twelve clips of two layouts with labels, a third of them answered wrongly."""
    emotions = ("anger", "fear", "sadness")
    for number in range(12):
        clip = example_clip(("kinect_v2_25", "emilya_28")[number % 2], 40 + number, f"clip {number}", seed=number)
        assert clip.answer is not None
        truth, said = emotions[number % 3], emotions[(number + (number % 4 == 0)) % 3]
        probabilities = ranked(emotions, [0.5 + number / 100 if emotion == said else 0.2 for emotion in emotions])
        yield replace(clip, truth=truth, answer=replace(clip.answer, emotion=said, probabilities=probabilities))


def test_the_index_sorts_filters_searches_and_counts(browser, tmp_path):
    browser.show(write_reports(tmp_path, "all", answers()))

    def names() -> list[str]:
        return browser.js("return [...document.querySelectorAll('#rows .title')].map((cell) => cell.textContent)")

    assert names() == [f"clip {number}" for number in range(12)] and "9 of 12 (75.0 %)" in browser.one("#summary").text
    for _ in range(2):
        browser.one("[data-key=probability] button").click()
    assert names() == [f"clip {number}" for number in reversed(range(12))]
    assert browser.one("[data-key=probability]").get_attribute("aria-sort") == "descending"
    browser.one("#outcome option[value=wrong]").click()
    assert names() == ["clip 8", "clip 4", "clip 0"]
    browser.one("#clear").click()
    browser.one("#search").send_keys("bowed CLIP 11")
    assert names() == ["clip 11"]
    browser.one("#clear").click()
    cell = browser.one("[aria-label='1 of 4 clips of anger answered fear']")
    cell.click()
    assert names() == ["clip 0"]
    browser.one("#rows .title a").click()
    browser.wait("return typeof views !== 'undefined' && views[0].record.name === 'clip 0'")
    browser.one("nav a").click()
    browser.wait("return document.title === 'all'")
    assert browser.errors() == []


def test_two_clips_ticked_in_the_index_are_shown_in_step(browser, tmp_path):
    browser.show(write_reports(tmp_path, "all", answers()))
    for number in (1, 4):
        browser.one(f"#rows tr:nth-child({number}) input").click()
    browser.one("#together").click()
    browser.switch_to.frame(browser.one("#frames iframe"))
    browser.wait("return typeof views !== 'undefined' && views.length === 2")
    assert browser.js("return views.map((view) => view.record.name)") == ["clip 0", "clip 3"]
    browser.switch_to.default_content()
    assert browser.errors() == []


@pytest.mark.parametrize("layout", ["kdae_72", "kinect_v2_25"])
def test_ten_thousand_frames_play_smoothly(browser, tmp_path, layout, capsys):
    path = write(tmp_path / "long.html", example_clip(layout, 10_000))
    browser.show(path)
    browser.wait("return state.time > 0 && performance.getEntriesByType('paint').length > 0")
    loaded = browser.js("return performance.getEntriesByType('paint')[0].startTime")
    browser.js("toggle('trail')")
    drawn = browser.execute_async_script(
        "const done = arguments[0], draw = ClipView.prototype.draw; let times = []; const seconds = [];"
        "ClipView.prototype.draw = function () { const begin = performance.now(); draw.call(this); seconds.push(performance.now() - begin); };"
        "const tick = (now) => { times.push(now); if (now - times[0] < 3000) requestAnimationFrame(tick); else {"
        " ClipView.prototype.draw = draw; seconds.sort((a, b) => a - b);"
        " done({rate: 1000 * (times.length - 1) / (now - times[0]), median: seconds[seconds.length >> 1]}); } };"
        "requestAnimationFrame(tick)"
    )
    figures = {"layout": layout, "first paint ms": round(loaded), "frames/s": round(drawn["rate"], 1),
               "median ms per picture": round(drawn["median"], 2), "MB": round(path.stat().st_size / 1e6, 2)}  # fmt: skip
    with capsys.disabled():
        print("\n" + json.dumps(figures))
    assert drawn["rate"] > LEAST_FRAMES_PER_SECOND and loaded < 5000
    browser.js("seek(lastTime())")
    browser.wait("return byId('frame').textContent.endsWith('of 10000')")
    assert browser.errors() == []
