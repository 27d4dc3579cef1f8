// What was learned of a user: value = {user, lines, used: whether texts are written with it}.
const section = element.querySelector(".fly-learned");
const lines = element.querySelector(".fly-lines");
const button = element.querySelector(".fly-unlearn");
function draw() {
  const value = props.value || {};
  lines.replaceChildren(
    ...(value.lines || []).map((text) => {
      const line = document.createElement("p");
      line.textContent = text;
      return line;
    }),
  );
  section.hidden = !lines.children.length;
}
button.addEventListener("click", () => {
  const { user, used } = props.value;
  const then = used ? " From then on texts are written without it." : "";
  if (confirm(`Forget what was learned of ${user}?${then} The writings stay.`)) trigger("forget", { user });
});
watch("value", draw);
draw();
