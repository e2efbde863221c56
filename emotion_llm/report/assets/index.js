// The index of a folder of clips: summary, confusion matrices, a list to sort, filter and search, two clips beside each other.
//
// embedded entries -> table rows, a hundred at a time

const PAGE = 100;
const COLUMNS = [
  ["name", "Clip"], ["truth", "Label"], ["emotion", "Answer"], ["probability", "Probability"], ["corpus", "Corpus"], ["actor", "Actor"],
  ["action", "Action"], ["seconds", "Length"], ["claims", "Claims"],
];
const shown = COLUMNS.filter(([key]) => data.entries.some((entry) => entry[key] !== null && entry[key] !== undefined));
const view = {key: null, down: false, search: "", truth: "", emotion: "", outcome: "", corpus: "", rows: PAGE, ticked: new Set()};
const judged = data.entries.filter((entry) => entry.truth && entry.emotion);
const total = (entries, verdict) => entries.reduce((sum, entry) => sum + (entry.claims ? entry.claims[verdict] : 0), 0);

function summary() {
  const right = judged.filter((entry) => entry.truth === entry.emotion).length, supported = total(data.entries, 0), contradicted = total(data.entries, 1);
  const facts = [["clips", data.entries.length.toLocaleString("en")]];
  if (judged.length) facts.push(["agree with their label", `${right} of ${judged.length} (${percent(right / judged.length)})`]);
  if (supported + contradicted) facts.push(["claims supported, of those that the movement decides", `${supported} of ${supported + contradicted}`]);
  const minutes = data.entries.reduce((sum, entry) => sum + entry.seconds, 0) / 60;
  facts.push(["of movement", minutes < 2 ? `${(60 * minutes).toFixed(0)} s` : `${minutes.toFixed(1)} min`]);
  byId("summary").append(...facts.map(([label, value]) => element("div", {}, element("b", {}, value), label)));
}

// Rows: labels; columns: answers. A cell shows those clips.
function matrices() {
  for (const corpus of new Set(judged.map((entry) => entry.corpus))) {
    const entries = judged.filter((entry) => entry.corpus === corpus), counts = new Map();
    const emotions = [...new Set(entries.flatMap((entry) => [entry.truth, entry.emotion]))].sort();
    for (const {truth, emotion} of entries) counts.set(`${truth}\n${emotion}`, (counts.get(`${truth}\n${emotion}`) || 0) + 1);
    const rows = emotions.map((truth) => {
      const sum = emotions.reduce((all, emotion) => all + (counts.get(`${truth}\n${emotion}`) || 0), 0);
      return element("tr", {}, element("th", {scope: "row"}, truth), ...emotions.map((emotion) => {
        const count = counts.get(`${truth}\n${emotion}`) || 0, share = count / Math.max(1, sum);
        const button = element("button", {class: truth === emotion ? "truth-cell" : null, disabled: !count,
          "aria-label": `${count} of ${sum} clips of ${truth} answered ${emotion}`, onclick: () => choose({truth, emotion, corpus, outcome: ""})}, count || "");
        button.style.background = count ? `color-mix(in oklab, var(--accent) ${Math.round(6 + 42 * share)}%, var(--card))` : "transparent"; // text: 5 to 1
        return element("td", {}, button);
      }));
    });
    const head = element("tr", {}, element("td", {}), ...emotions.map((emotion) => element("th", {scope: "col", title: emotion}, emotion)));
    byId("matrices").append(element("div", {class: "matrix"}, element("table", {},
      element("caption", {}, `${corpus || "All clips"}: label (rows) and answer (columns)`), element("thead", {}, head), element("tbody", {}, ...rows))));
  }
}

function filters() {
  for (const [key, all] of [["corpus", "All corpora"], ["truth", "All labels"], ["emotion", "All answers"]]) {
    const values = [...new Set(data.entries.map((entry) => entry[key]).filter(Boolean))].sort();
    byId(key).append(element("option", {value: ""}, all), ...values.map((value) => element("option", {value}, value)));
    byId(key).hidden = values.length < 2;
  }
  byId("outcome").hidden = !judged.length;
  for (const key of ["search", "corpus", "truth", "emotion", "outcome"])
    byId(key).addEventListener(key === "search" ? "input" : "change", () => choose({[key]: byId(key).value}));
  byId("clear").addEventListener("click", () => choose({search: "", corpus: "", truth: "", emotion: "", outcome: ""}));
  byId("head").append(element("td", {}, element("span", {class: "visually-hidden"}, "Beside each other")), element("td", {}), ...shown.map(([key, label]) =>
    element("th", {scope: "col", "data-key": key}, element("button", {onclick: () => choose({key, down: view.key === key && !view.down})}, label))));
  byId("sort").append(...shown.map(([key, label]) => element("option", {value: key}, label)));
  byId("sort").addEventListener("change", () => choose({key: byId("sort").value || null, down: false}));
}

function choose(changes) {
  Object.assign(view, {rows: PAGE}, changes);
  for (const key of ["search", "corpus", "truth", "emotion", "outcome"]) byId(key).value = view[key];
  for (const th of byId("head").querySelectorAll("th")) {
    const on = th.dataset.key === view.key;
    if (on) th.setAttribute("aria-sort", view.down ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  }
  list();
}

const sortValue = (entry) => (view.key === "claims" ? (entry.claims ? entry.claims[0] - entry.claims[1] : null) : entry[view.key]);

function chosen() {
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = data.entries.filter((entry) => {
    if (["corpus", "truth", "emotion"].some((key) => view[key] && entry[key] !== view[key])) return false;
    if (view.outcome && (!entry.truth || !entry.emotion || (entry.truth === entry.emotion) !== (view.outcome === "right"))) return false;
    const text = [entry.name, entry.truth, entry.emotion, entry.actor, entry.action, entry.text].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  if (view.key === null) return rows;
  const order = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true}));
  return rows.sort((a, b) => {
    const [x, y] = [sortValue(a), sortValue(b)];
    if (x === null || y === null || x === undefined || y === undefined) return (x ?? null) === (y ?? null) ? 0 : (x ?? null) === null ? 1 : -1; // unknown last
    return view.down ? order(y, x) : order(x, y);
  });
}

function list() {
  const rows = chosen();
  byId("count").textContent = rows.length === data.entries.length ? `${rows.length} clips` : `${rows.length} of ${data.entries.length} clips`;
  byId("rows").replaceChildren(...rows.slice(0, view.rows).map(row));
  byId("more").hidden = rows.length <= view.rows;
  byId("clear").hidden = !(view.search || view.corpus || view.truth || view.emotion || view.outcome);
}

function row(entry) {
  const tick = element("input", {type: "checkbox", "aria-label": `Compare ${entry.name}`, onchange: (event) => {
    view.ticked[event.target.checked ? "add" : "delete"](entry.page);
    byId("together").disabled = view.ticked.size !== 2;
  }});
  tick.checked = view.ticked.has(entry.page);
  return element("tr", {}, element("td", {class: "tick"}, tick), element("td", {class: "picture"}, thumbnail(entry)), ...shown.map(([key, label]) =>
    element("td", {class: {name: "title", action: "words", emotion: "answered", probability: "number", seconds: "number"}[key], "data-about": ["truth", "emotion", "claims"].includes(key) ? label.toLowerCase() : null},
      cell(entry, key))));
}

function cell(entry, key) {
  const value = entry[key];
  if (value === null || value === undefined) return "";
  if (key === "name") return element("a", {href: entry.page}, value);
  if (key === "probability") return percent(value);
  if (key === "seconds") return `${value.toFixed(1)} s`;
  if (key === "claims") return element("span", {class: "marks", role: "img", "aria-label": `${value[0]} supported, ${value[1]} contradicted, ${value[2]} undecided`},
    ...[["right", "✓"], ["wrong", "✕"], ["faint", "?"]].map(([kind, sign], i) => (value[i] ? element("span", {class: kind}, `${sign} ${value[i]}`) : null)));
  if (key === "emotion" && entry.truth) return element("span", {class: entry.truth === value ? "right" : "wrong"}, `${entry.truth === value ? "✓" : "✕"} ${value}`);
  return value;
}

// Poses as lines in a box of 256 x 93 units, drawn as one path.
function thumbnail(entry) {
  const points = Uint8Array.from(atob(entry.poses), (sign) => sign.charCodeAt(0)), {bones, joints, head} = data.layouts[entry.layout];
  const lines = [];
  for (let start = 0; start < points.length; start += 2 * joints) {
    lines.push(`M${points[start + 2 * head]} ${points[start + 2 * head + 1]}m-3 -2a3 4 0 1 0 6 0a3 4 0 1 0 -6 0`);
    for (const [a, b] of bones) lines.push(`M${points[start + 2 * a]} ${points[start + 2 * a + 1]}L${points[start + 2 * b]} ${points[start + 2 * b + 1]}`);
  }
  return element("a", {href: entry.page, tabindex: -1, "aria-hidden": "true"},
    element("svg", {class: "thumb", viewBox: "0 0 256 93"}, element("path", {d: lines.join("")})));
}

// Two pages in frames: the second's clip is handed to the first's page, which shows both in step.
function together() {
  const [first, second] = [...view.ticked].map((page) => element("iframe", {src: page, title: "Two clips in step"}));
  second.setAttribute("aria-hidden", "true");
  second.setAttribute("tabindex", "-1");
  const loaded = [first, second].map((frame) => new Promise((done) => frame.addEventListener("load", done)));
  byId("frames").replaceChildren(first, second);
  byId("pair-dialog").showModal();
  const receive = (event) => {
    if (event.source !== second.contentWindow || !event.data?.clip) return;
    first.contentWindow.postMessage(event.data, "*");
    second.remove();
    removeEventListener("message", receive);
  };
  addEventListener("message", receive);
  Promise.all(loaded).then(() => second.contentWindow.postMessage("send clip", "*"));
}

byId("together").addEventListener("click", together);
byId("pair-dialog").addEventListener("close", () => byId("frames").replaceChildren());
byId("more").addEventListener("click", () => { view.rows += PAGE; list(); });
summary();
matrices();
filters();
choose({});
