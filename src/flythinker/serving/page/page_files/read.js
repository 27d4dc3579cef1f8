// What came of the files that were added: value = {columns, rows, lines}, or nothing.
const section = element.querySelector(".fly-read");
function cells(tag, texts) {
  const row = document.createElement("tr");
  for (const text of texts) {
    const cell = document.createElement(tag);
    cell.textContent = text;
    if (tag === "th") cell.scope = "col";
    row.append(cell);
  }
  return row;
}
function draw() {
  const { columns = [], rows = [], lines = [] } = props.value || {};
  const parts = [];
  if (rows.length) {
    const table = document.createElement("table");
    table.append(cells("th", columns), ...rows.map((row) => cells("td", row)));
    parts.push(table);
  }
  if (lines.length) {
    const list = document.createElement("ul");
    for (const line of lines) {
      const item = document.createElement("li");
      item.textContent = line;
      list.append(item);
    }
    parts.push(list);
  }
  section.replaceChildren(...parts);
}
watch("value", draw);
draw();
