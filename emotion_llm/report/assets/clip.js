// The page of one clip, or of two in step.
//
// embedded clip records -> one ClipView each; one Player moves them all

const VERDICTS = {
  supported: ["✓", "supported by the movement"],
  contradicted: ["✕", "contradicted by the movement"],
  indeterminate: ["≈", "neither supported nor contradicted"],
  uncheckable: ["?", "unchecked"],
};
const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const views = [];
const state = {
  time: 0, playing: false, speed: 1, phase: false, colours: readColours(), stale: true,
  follow: true, trail: false, names: false, byWeight: true, orbit: {yaw: 0.5, pitch: 0.12, zoom: 1},
};
const lastTime = () => Math.max(...views.map((view) => (view.motion.frames - 1) / view.motion.rate));
const redraw = () => { state.stale = true; };

class ClipView {
  constructor(record, removable) {
    Object.assign(this, {record, motion: new Motion(record), selected: null});
    this.figure = new Figure(record, this.motion);
    this.canvas = element("canvas", {tabindex: 0, role: "application", "aria-label":
      `3D skeleton of ${record.name}. Arrow keys turn the view, plus and minus zoom.`});
    this.caption = element("p", {class: "caption", hidden: true});
    const close = removable ? element("button", {class: "close", "aria-label": `Remove ${record.name}`, onclick: () => removeClip(this)}, element("span", {"aria-hidden": "true"}, "✕")) : null;
    this.stage = element("div", {class: "stage"}, this.canvas, this.caption, this.legend(), close);
    this.lanes = this.makeLanes();
    this.article = element("article", {class: record.emotion || record.curve ? "clip" : "clip plain", "aria-label": record.name},
      element("header", {}, element("h2", {}, record.name), element("p", {class: "faint"}, ...record.about.map((fact) => element("span", {}, fact)))),
      element("div", {class: "columns"}, element("div", {class: "movement"}, this.stage, this.lanes), this.answer()));
    listenToOrbit(this.canvas);
    listenToSeek(this.lanes, this);
    new ResizeObserver(() => { this.drawLanes(); redraw(); }).observe(this.stage);
  }

  get frame() {
    const last = this.motion.frames - 1;
    return Math.max(0, Math.min(last, state.phase ? (state.time / Math.max(lastTime(), 1e-9)) * last : state.time * this.motion.rate));
  }

  // Player time of a share of this clip.
  timeAt(share) {
    return share * (state.phase ? lastTime() : (this.motion.frames - 1) / this.motion.rate);
  }

  draw() {
    const {context, width, height} = prepareCanvas(this.canvas);
    if (!width) return;
    const target = this.motion.groundAt(state.follow ? this.frame : 0), project = projection(state.orbit, target, width, height);
    drawFloor(context, project, target, state.colours);
    const highlighted = this.selected === null ? null : new Set(this.record.claims[this.selected].joints);
    const byWeight = state.byWeight && Boolean(this.record.attribution);
    this.figure.draw(context, project, this.frame, {colours: state.colours, byWeight, trail: state.trail, names: state.names, highlighted});
    this.playhead.style.left = `${(100 * this.frame) / Math.max(1, this.motion.frames - 1)}%`;
  }

  legend() {
    const scale = element("div", {class: "legend"});
    if (this.record.attribution)
      scale.append(element("div", {class: "weights"}, element("span", {}, "against"), element("i", {class: "ramp"}), element("span", {}, `for ${this.record.emotion}`)));
    scale.append(element("div", {class: "sides"}, element("i", {class: "left"}), "left", element("i", {class: "right"}), "right"));
    return scale;
  }

  makeLanes() {
    this.film = element("canvas", {class: "film", "aria-hidden": "true"});
    this.strip = this.record.attribution && element("canvas", {class: "strip", role: "img", "aria-label": "When the movement speaks for or against the emotion"});
    this.playhead = element("div", {class: "playhead", "aria-hidden": "true"});
    this.range = element("div", {class: "range", hidden: true});
    return element("div", {class: "lanes"}, this.film, this.strip || null, this.curve(), this.segments(), this.range, this.playhead);
  }

  drawLanes() {
    const {context, width, height} = prepareCanvas(this.film), {motion, record} = this, {colours} = state;
    const poses = Math.max(2, Math.floor(width / 46)), zoom = Math.min(1.25, 1 / (motion.top - EYE_HEIGHT)), look = {colours, paper: colours.card, byWeight: state.byWeight && Boolean(record.attribution), highlighted: null};
    for (let i = 0; i < poses && width; i++) {
      const frame = ((i + 0.5) / poses) * (motion.frames - 1), target = motion.groundAt(frame), centre = ((i + 0.5) / poses) * width;
      const look3d = projection({yaw: 0.5, pitch: 0.05, zoom}, target, height, height);
      const screen = [], pose = motion.pose(frame);
      for (let j = 0; j < motion.joints; j++) {
        const [x, y, size, near] = look3d(pose[3 * j], pose[3 * j + 1], pose[3 * j + 2]);
        screen.push([x - height / 2 + centre, y, size, near]);
      }
      this.figure.body(context, screen, look);
    }
    if (this.strip) this.drawStrip();
  }

  drawStrip() {
    const {context, width, height} = prepareCanvas(this.strip), {seconds, moments} = this.record.attribution, whole = this.motion.seconds;
    moments.forEach((weight, i) => {
      const from = (seconds[i] / whole) * width, to = ((seconds[i + 1] ?? whole) / whole) * width;
      context.fillStyle = weightColour(weight, state.colours);
      context.fillRect(from, 0, Math.max(1, to - from + 0.5), height);
    });
  }

  // The emotions' probabilities over time; the four that ever become likeliest are named at their peaks.
  curve() {
    const {curve} = this.record;
    if (!curve) return null;
    const whole = this.motion.seconds, x = (i) => (1000 * curve.seconds[i]) / whole, y = (value) => 97 - 94 * value;
    const peaks = curve.emotions.map((emotion, row) => [Math.max(...curve.values[row]), emotion, row]).sort((a, b) => b[0] - a[0]);
    const lines = element("svg", {viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true"},
      ...[0, 0.5, 1].map((value) => element("line", {class: "rule", x1: 0, x2: 1000, y1: y(value), y2: y(value)})));
    const box = element("div", {class: "curve", role: "img", "aria-label": `Probabilities over time. Highest: ${peaks.slice(0, 4)
      .map(([peak, emotion]) => `${emotion} up to ${percent(peak)}`).join(", ")}`}, lines);
    peaks.reverse().forEach(([peak, emotion, row], i) => {
      const rank = peaks.length - 1 - i, values = curve.values[row];
      lines.append(element("path", {class: rank < 4 ? `series s${rank}` : "series", d: "M" + values.map((value, at) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}));
      if (rank >= 4 || peak < 0.15) return;
      const name = element("span", {class: `s${rank}`}, emotion);
      const share = x(values.indexOf(peak)) / 10;
      if (share < 60) name.style.left = `${Math.max(1, share)}%`;
      else name.style.right = `${Math.max(1, 99 - share)}%`;
      name.style.top = `${Math.max(2, y(peak) - 4)}%`;
      box.append(name);
    });
    return box;
  }

  segments() {
    const segments = this.record.curve?.segments || [];
    if (!segments.length) return null;
    const whole = this.motion.seconds;
    return element("div", {class: "segments"}, ...segments.map((segment) => {
      const button = element("button", {title: segment.explanation || segment.emotion, onclick: () => seek(this.timeAt(segment.from / whole))}, segment.emotion);
      button.style.left = `${(100 * segment.from) / whole}%`;
      button.style.width = `${(100 * (segment.to - segment.from)) / whole}%`;
      return button;
    }));
  }

  answer() {
    const {record} = this, parts = [];
    if (record.emotion) {
      const agrees = record.truth === record.emotion;
      parts.push(element("p", {class: "emotion"}, record.emotion, element("span", {}, percent(record.probabilities[0][1]))));
      if (record.truth) parts.push(element("p", {class: agrees ? "truth right" : "truth wrong"}, agrees ? "✓ agrees with the label" : `✕ the label is ${record.truth}`));
      parts.push(element("h3", {}, "Probabilities"), this.probabilities());
    } else if (record.truth) parts.push(element("p", {class: "emotion"}, record.truth, element("span", {}, "label")));
    if (record.curve) parts.push(...this.story());
    if (record.explanation) parts.push(element("h3", {}, "Explanation"), this.explanation(record.explanation, record.claims.map((claim, i) => i)));
    if (record.claims.length) parts.push(element("h3", {}, "Claims, held against the movement"), this.claims());
    for (const [title, lines] of [["Descriptions", record.texts], ["Findings", record.findings]])
      if (lines.length) parts.push(element("h3", {}, title), element("ul", {class: "lines"}, ...lines.map((line) => element("li", {}, line))));
    return element("section", {class: "answer", "aria-label": `Answer to ${record.name}`}, ...parts);
  }

  probabilities() {
    return element("ol", {class: "bars"}, ...this.record.probabilities.map(([emotion, value], i) => {
      const bar = element("i", {"aria-hidden": "true"});
      bar.style.width = `${100 * value}%`;
      const label = emotion === this.record.truth ? `${emotion} (label)` : emotion;
      return element("li", {class: i ? null : "first"}, element("span", {}, label), element("div", {}, bar), element("b", {}, percent(value)));
    }));
  }

  // A long recording: its emotions in a row, and each segment with its explanation.
  story() {
    const {segments} = this.record.curve, names = segments.map((segment) => segment.emotion);
    return [element("p", {class: "emotion"}, names.slice(0, 4).join(" → ") + (names.length > 4 ? " → …" : "")), ...segments.flatMap((segment) => [
      element("h3", {class: "when"}, element("button", {onclick: () => seek(this.timeAt(segment.from / this.motion.seconds))},
        `${segment.from.toFixed(1)}–${segment.to.toFixed(1)} s`), ` ${segment.emotion} ${percent(segment.probability)}`),
      segment.explanation ? this.explanation(segment.explanation, segment.claims) : null,
    ].filter(Boolean))];
  }

  // The text, with each of these claims that tells its place in it as a button.
  explanation(text, numbers) {
    const {claims} = this.record, paragraph = element("p", {class: "explanation"});
    let done = 0;
    for (const i of numbers.filter((n) => claims[n].span).sort((a, b) => claims[a].span[0] - claims[b].span[0])) {
      const claim = claims[i], [from, to] = claim.span;
      if (from < done) continue; // overlaps another claim; both are in the list
      paragraph.append(text.slice(done, from), this.claimButton(claim, i, "\u2060", text.slice(from, to)));
      done = to;
    }
    paragraph.append(text.slice(done));
    return paragraph;
  }

  claims() {
    return element("ul", {class: "claims"}, ...this.record.claims.map((claim, i) =>
      element("li", {}, this.claimButton(claim, i, element("b", {}, claim.about), ` ${claim.what}`,
        element("span", {class: "faint"}, `${claim.moment}${this.secondsOf(claim)} · ${VERDICTS[claim.verdict][1]}${claim.kind ? ` (${claim.kind})` : ""}`)))));
  }

  secondsOf({from, to}) {
    const [begin, end] = [from, to].map((share) => (share * this.motion.seconds).toFixed(1));
    return from > 0 || to < 1 ? `, ${begin}–${end} s` : "";
  }

  claimButton(claim, i, ...words) {
    const [sign, meaning] = VERDICTS[claim.verdict], act = () => this.select(this.selected === i ? null : i);
    // A span: a button's text cannot be broken over two lines.
    return element("span", {class: `claim ${claim.verdict}`, role: "button", tabindex: 0, "data-claim": i, "aria-pressed": "false", title: `${claim.about} ${claim.what}: ${meaning}`,
      onclick: act, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } }}, element("i", {role: "img", "aria-label": meaning}, sign), ...words);
  }

  select(index) {
    this.selected = index;
    for (const button of this.article.querySelectorAll(".claim"))
      button.setAttribute("aria-pressed", String(Number(button.dataset.claim) === index));
    this.range.hidden = this.caption.hidden = index === null;
    if (index !== null) {
      const claim = this.record.claims[index];
      this.range.style.left = `${100 * claim.from}%`;
      this.range.style.width = `${100 * (claim.to - claim.from)}%`;
      this.caption.textContent = `${claim.about} · ${claim.moment} · ${VERDICTS[claim.verdict][1]}`;
      byId("status").textContent = `${claim.about} highlighted, ${claim.moment}`;
      seek(this.timeAt(claim.from));
    }
    redraw();
  }
}

// ---- one player for all clips

function loopRange() {
  const chosen = views.filter((view) => view.selected !== null).map((view) => [view, view.record.claims[view.selected]]);
  if (!chosen.length) return [0, lastTime()];
  return [Math.min(...chosen.map(([view, claim]) => view.timeAt(claim.from))), Math.max(...chosen.map(([view, claim]) => view.timeAt(claim.to)))];
}

function seek(time) {
  state.time = Math.max(0, Math.min(lastTime(), time));
  redraw();
}

function step(frames) {
  const {rate} = views[0].motion;
  play(false);
  seek((Math.round(state.time * rate) + frames) / rate);
}

function play(on) {
  state.playing = on;
  byId("play").setAttribute("aria-label", on ? "Pause" : "Play");
  byId("play").classList.toggle("playing", on);
}

let before = null;
function tick(now) {
  const passed = before === null ? 0 : Math.min(0.25, (now - before) / 1000);
  before = now;
  if (state.playing) {
    const [from, to] = loopRange(), time = state.time + passed * state.speed;
    seek(time > to || time < from ? from : time);
  }
  if (state.stale) {
    state.stale = false;
    views.forEach((view) => view.draw());
    showTime();
  }
  requestAnimationFrame(tick);
}

function showTime() {
  const {rate, frames} = views[0].motion, scrub = byId("scrub"), text = `${state.time.toFixed(2)} s of ${lastTime().toFixed(2)} s`;
  scrub.value = Math.round(state.time * rate);
  scrub.setAttribute("aria-valuetext", text);
  byId("time").textContent = `${state.time.toFixed(2)} / ${lastTime().toFixed(2)} s`;
  byId("frame").textContent = `frame ${Math.min(frames, Math.round(views[0].frame) + 1)} of ${frames}`;
}

// ---- clips come and go

function addClip(record) {
  if (record?.format !== data.format) throw new Error("another version of the report wrote it");
  const view = new ClipView(record, views.length > 0);
  views.splice(1, 1).forEach((old) => old.article.remove());
  views.push(view);
  byId("clips").append(view.article);
  clipsChanged();
}

function removeClip(view) {
  views.splice(views.indexOf(view), 1);
  view.article.remove();
  clipsChanged();
}

function clipsChanged() {
  byId("clips").classList.toggle("pair", views.length > 1);
  byId("phase").hidden = views.length < 2;
  byId("byWeight").hidden = !views.some((view) => view.record.attribution);
  byId("scrub").max = Math.round(lastTime() * views[0].motion.rate);
  seek(Math.min(state.time, lastTime()));
  refreshColours();
}

async function openReport(file) {
  try {
    const page = new DOMParser().parseFromString(await file.text(), "text/html"); // parsed, never shown or run
    const {clips} = JSON.parse(page.getElementById("data")?.textContent || "{}");
    if (!clips) throw new Error("no clip in it");
    addClip(clips[0]);
    byId("status").textContent = `${file.name} beside it`;
  } catch (error) {
    byId("message").textContent = `${file.name} is no report of a clip (${error.message})`;
    byId("message").showPopover?.();
  }
}

// The index shows two clips side by side: it asks the second's page for the clip and hands it to the first's.
addEventListener("message", (event) => {
  if (parent === window || event.source !== parent || (event.origin !== location.origin && location.protocol !== "file:")) return;
  if (event.data === "send clip") parent.postMessage({clip: data.clips[0]}, "*");
  else if (event.data?.clip) addClip(event.data.clip);
});

// ---- input

function listenToOrbit(canvas) {
  const pointers = new Map();
  const spread = () => { const [a, b] = pointers.values(); return Math.hypot(a.x - b.x, a.y - b.y); };
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const was = pointers.size === 2 ? spread() : 0, [dx, dy] = [event.clientX - last.x, event.clientY - last.y];
    pointers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    if (pointers.size === 2) zoom(spread() / Math.max(1, was));
    else turn(-dx * 0.008, event.pointerType === "touch" ? 0 : dy * 0.008); // a finger that moves up or down scrolls the page
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015)); }, {passive: false});
  canvas.addEventListener("dblclick", resetView);
}

function turn(yaw, pitch) {
  state.orbit.yaw += yaw;
  state.orbit.pitch = Math.max(-0.1, Math.min(MAX_PITCH, state.orbit.pitch + pitch));
  redraw();
}

function zoom(factor) {
  state.orbit.zoom = Math.max(0.25, Math.min(4, state.orbit.zoom * factor));
  redraw();
}

function resetView() {
  Object.assign(state.orbit, {yaw: 0.5, pitch: 0.12, zoom: 1});
  redraw();
}

function listenToSeek(lanes, view) {
  const go = (event) => {
    const {left, width} = lanes.getBoundingClientRect();
    seek(view.timeAt(Math.max(0, Math.min(1, (event.clientX - left) / width))));
  };
  lanes.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    lanes.setPointerCapture(event.pointerId);
    go(event);
  });
  lanes.addEventListener("pointermove", (event) => { if (lanes.hasPointerCapture(event.pointerId)) go(event); });
}

function toggle(name) {
  state[name] = !state[name];
  byId(name).setAttribute("aria-pressed", String(state[name]));
  document.body.classList.toggle("by-weight", state.byWeight);
  views.forEach((view) => view.drawLanes());
  redraw();
}

function changeSpeed(by) {
  const at = SPEEDS.indexOf(state.speed) + by;
  if (SPEEDS[at]) byId("speed").value = state.speed = SPEEDS[at];
}

function refreshColours() {
  state.colours = readColours();
  views.forEach((view) => view.drawLanes());
  redraw();
}

const KEYS = {
  " ": () => play(!state.playing), ",": () => step(-1), ".": () => step(1), Home: () => seek(0), End: () => seek(lastTime()),
  "[": () => changeSpeed(-1), "]": () => changeSpeed(1), "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15), 0: resetView,
  f: () => toggle("follow"), t: () => toggle("trail"), n: () => toggle("names"), c: () => toggle("byWeight"),
  "?": () => byId("help").showModal(), Escape: () => views.forEach((view) => view.select(null)),
};
const TURN_KEYS = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.08], ArrowDown: [0, -0.08]};
const STEP_KEYS = {ArrowLeft: -1, ArrowRight: 1};

addEventListener("keydown", (event) => {
  const {target, key} = event;
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (target.closest("select, input[type=file]") || (target.closest("button, input, [role=button]") && [" ", "Enter", "ArrowLeft", "ArrowRight", "Home", "End"].includes(key))) return;
  const act = target.tagName === "CANVAS" && TURN_KEYS[key] ? () => turn(...TURN_KEYS[key]) : STEP_KEYS[key] ? () => step(STEP_KEYS[key]) : KEYS[key];
  if (!act) return;
  event.preventDefault();
  act();
});
for (const name of ["follow", "trail", "names", "byWeight", "phase"]) byId(name).addEventListener("click", () => toggle(name));
byId("play").addEventListener("click", () => play(!state.playing));
byId("back").addEventListener("click", () => step(-1));
byId("forward").addEventListener("click", () => step(1));
byId("scrub").addEventListener("input", (event) => { play(false); seek(event.target.value / views[0].motion.rate); });
byId("speed").addEventListener("change", (event) => { state.speed = Number(event.target.value); });
byId("help-button").addEventListener("click", () => byId("help").showModal());
byId("compare").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", (event) => { if (event.target.files[0]) openReport(event.target.files[0]); });
const dragging = (on) => document.body.classList.toggle("dragging", on);
addEventListener("dragover", (event) => { event.preventDefault(); dragging(true); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) dragging(false); });
addEventListener("drop", (event) => { event.preventDefault(); dragging(false); if (event.dataTransfer.files[0]) openReport(event.dataTransfer.files[0]); });
addEventListener("beforeprint", () => views.forEach((view) => view.draw()));

whenThemeChanges(refreshColours);
document.body.classList.add("by-weight");
document.body.classList.toggle("framed", parent !== window);
data.clips.forEach(addClip);
play(!stillPlease.matches);
requestAnimationFrame(tick);
