// What both pages share: building elements, the theme, the embedded data.

// An element with attributes, listeners (on...) and children; text is always a text node, never HTML.
function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "g", "rect"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const data = JSON.parse(byId("data").textContent);

function remember(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch { /* storage is switched off: the choice lasts as long as the page */ }
  return null;
}

const listeners = [];
const whenThemeChanges = (call) => listeners.push(call);
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const themeNow = () => document.documentElement.dataset.theme || (systemDark.matches ? "dark" : "light");
const stillPlease = matchMedia("(prefers-reduced-motion: reduce)");

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-label", themeNow() === "dark" ? "Light colours" : "Dark colours");
  listeners.forEach((call) => call());
}

byId("theme").addEventListener("click", () => {
  setTheme(themeNow() === "dark" ? "light" : "dark");
  remember("emotion_llm-theme", themeNow());
});
systemDark.addEventListener("change", () => setTheme());
setTheme(remember("emotion_llm-theme"));

let themeOnScreen; // paper is light
addEventListener("beforeprint", () => {
  themeOnScreen = document.documentElement.dataset.theme;
  setTheme("light");
});
addEventListener("afterprint", () => {
  delete document.documentElement.dataset.theme;
  setTheme(themeOnScreen);
});
