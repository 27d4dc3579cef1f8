// A user's stored texts: value = {user, documents: [{id, title, date, characters, edited}], more: whether there are more}.
const list = element.querySelector("ul");
const about = element.querySelector(".fly-about");
const forget = element.querySelector(".fly-forget");

function item(document_) {
  const entry = document.createElement("li");
  const name = document.createElement("span");
  name.className = "fly-name";
  name.dir = "auto";
  name.textContent = document_.title || "Untitled";
  const size = document.createElement("span");
  size.className = "fly-size";
  const length = `${document_.characters.toLocaleString()} characters`;
  size.textContent = [document_.date, length, document_.edited && "your edit"]
    .filter(Boolean)
    .join(" · ");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Delete";
  button.setAttribute("aria-label", `Delete ${name.textContent}`);
  button.addEventListener("click", () => trigger("remove", { id: document_.id }));
  entry.append(name, size, button);
  return entry;
}

function draw() {
  const { user = "", documents = [], more = false } = props.value || {};
  const buttons = () => [...list.querySelectorAll("button")];
  const at = buttons().indexOf(document.activeElement);
  const left = document.activeElement === forget && !documents.length;
  list.replaceChildren(...documents.map(item));
  const shown = documents.length;
  about.textContent = !user
    ? "Choose who writes first."
    : shown
      ? more
        ? `The first ${shown} texts; there are more.`
        : ""
      : `No texts of ${user} yet. Without any, the writing is nobody's in particular.`;
  forget.hidden = !shown;
  forget.textContent = `Forget ${user}`;
  // who deletes by keyboard goes on where they were
  if (at >= 0) (buttons()[Math.min(at, shown - 1)] || about).focus();
  else if (left) about.focus();
}

forget.addEventListener("click", () => {
  const { user } = props.value;
  if (confirm(`Delete all texts of ${user}?`)) trigger("forget", { user });
});
watch("value", draw);
draw();
