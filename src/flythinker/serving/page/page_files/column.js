// One text as it streams: value = {title, state, note, tokens: [[text, kl or null, [words]], …], …}, see `Column`.
// Tokens that are there already are kept, so that focus and the open tip survive a new piece.
const FULL = 0.25; // nats from which on the shade is full
const body = element.querySelector(".fly-text");
const tip = element.querySelector(".fly-tip");
const title = element.querySelector("h2");
const state = element.querySelector(".fly-state");
const note = element.querySelector(".fly-count");
const copy = element.querySelector(".fly-copy");
const edit = element.querySelector(".fly-edit");
const editor = element.querySelector(".fly-editor");
const area = editor.querySelector("textarea");
const narrow = matchMedia("(max-width: 700px)");
let drawn = [];
let current = null; // the token whose tip is open
let edited = null; // what the editor holds: {query, user, written, kept}
let shown = ""; // the text that the editor began with

function shade(kl) {
  return Math.min(1, Math.sqrt(kl / FULL)); // KL grows with the square of a small change
}

function span([text, kl]) {
  const token = document.createElement("span");
  token.textContent = text;
  if (kl !== null && text) { // none of a piece of a character
    token.className = "fly-token";
    token.tabIndex = -1;
    token.style.setProperty("--shade", shade(kl).toFixed(3));
  }
  return token;
}

function draw() {
  const value = props.value || {};
  const tokens = value.tokens || [];
  let same = 0;
  while (same < drawn.length && same < tokens.length && same_token(drawn[same], tokens[same])) same++;
  if (same < drawn.length) {
    hide();
    while (body.children.length > same) body.lastChild.remove();
  }
  body.append(...tokens.slice(same).map(span));
  drawn = tokens;
  if (!body.querySelector("[tabindex='0']")) {
    const first = body.querySelector(".fly-token");
    if (first) first.tabIndex = 0; // one stop for the tab key; arrows go on from there
  }
  if (value.state === "kept" || (value.state === "waiting" && area.value === shown)) close();
  if (value.state === "waiting" && narrow.matches && element.closest("#fly-personal")) {
    element.scrollIntoView(); // on a phone the texts are below everything else
  }
  title.textContent = value.title || "";
  title.hidden = !value.title; // a heading that says nothing is in a screen reader's way
  if (state.textContent !== (value.state || "")) state.textContent = value.state || "";
  note.textContent = value.note || "";
  body.lang = value.language || "";
  copy.hidden = !tokens.length;
  edit.hidden = !tokens.length || !value.query || value.state === "writing" || !editor.hidden;
  element.classList.toggle("fly-writing", value.state === "writing");
  element.classList.toggle("fly-empty", !tokens.length);
}

function text_of(tokens) {
  return tokens.map((token) => token[0]).join("").trim();
}

function same_token(one, other) {
  return one[0] === other[0] && one[1] === other[1];
}

function line(className, text) {
  const row = document.createElement("div");
  row.className = className;
  row.textContent = text;
  return row;
}

function show(token) {
  const [text, kl, words] = drawn[[...body.children].indexOf(token)];
  if (current) current.removeAttribute("aria-describedby");
  current = token;
  tip.replaceChildren(
    line("fly-tip-token", text.trim() ? `“${text.trim()}”` : "white space"),
    line("fly-tip-words", words.length ? [...new Set(words.map((word) => word.trim()))].join(" · ") : "no thought entered here"),
    line("fly-tip-kl", `moved the prediction by ${kl.toFixed(3)} nats`),
  );
  tip.hidden = false;
  token.setAttribute("aria-describedby", tip.id);
  const place = token.getClientRects()[0] || token.getBoundingClientRect();
  const frame = tip.offsetParent.getBoundingClientRect();
  const left = Math.min(place.left - frame.left, frame.width - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${place.bottom - frame.top + 6}px`;
}

function hide() {
  if (current) current.removeAttribute("aria-describedby");
  current = null;
  tip.hidden = true;
}

function go(token) {
  if (!token) return;
  body.querySelectorAll("[tabindex='0']").forEach((other) => (other.tabIndex = -1));
  token.tabIndex = 0;
  token.focus();
}

const token_of = (event) => event.target.closest?.(".fly-token");
body.addEventListener("mouseover", (event) => token_of(event) && show(token_of(event)));
body.addEventListener("mouseleave", () => {
  const focused = body.querySelector(".fly-token:focus");
  focused ? show(focused) : hide();
});
body.addEventListener("click", (event) => go(token_of(event)));
body.addEventListener("focusin", (event) => token_of(event) && show(token_of(event)));
body.addEventListener("focusout", hide);
body.addEventListener("keydown", (event) => {
  const token = token_of(event);
  if (!token) return;
  const tokens = [...body.querySelectorAll(".fly-token")];
  const at = tokens.indexOf(token);
  const on = getComputedStyle(body).direction === "rtl" ? -1 : 1;
  const to = { ArrowRight: at + on, ArrowLeft: at - on, Home: 0, End: tokens.length - 1 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    go(tokens[to]);
  } else if (event.key === "Escape") hide();
});

// The text as the person changes it. A new text that is written meanwhile takes away no change.
function open() {
  const { query, user = "", written, kept = "" } = props.value;
  shown = text_of(drawn);
  edited = { query, user, written: written || shown, kept };
  area.value = shown;
  area.lang = body.lang;
  editor.hidden = false;
  body.hidden = edit.hidden = true;
  area.focus();
  area.setSelectionRange(0, 0);
}

function close() {
  if (editor.hidden) return;
  const focused = editor.contains(document.activeElement);
  editor.hidden = true;
  body.hidden = edit.hidden = false;
  if (focused) edit.focus();
}

edit.addEventListener("click", open);
element.querySelector(".fly-cancel").addEventListener("click", close);
element.querySelector(".fly-keep").addEventListener("click", () => {
  if (edited.kept && area.value === shown) close();
  else trigger("keep", { ...edited, text: area.value });
});

copy.addEventListener("click", async () => {
  const text = editor.hidden ? text_of(drawn) : area.value;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not over plain http
    const copied = document.createElement("textarea");
    copied.value = text;
    document.body.append(copied);
    copied.select();
    document.execCommand("copy");
    copied.remove();
    copy.focus();
  }
  copy.textContent = "Copied";
  setTimeout(() => (copy.textContent = "Copy"), 1500);
});

tip.id = `fly-tip-${Math.random().toString(36).slice(2)}`;
watch("value", draw);
draw();
