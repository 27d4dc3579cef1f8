// The past texts that the writing is based on: value = {documents: [{title, date, text, language}], note}.
const list = element.querySelector(".fly-used");
const note = element.querySelector(".fly-note");
function draw() {
  const { documents = [], note: why = "" } = props.value || {};
  list.replaceChildren(
    ...documents.map(({ title, date, text, language }) => {
      const entry = document.createElement("details");
      const summary = document.createElement("summary");
      summary.textContent = [title || "Untitled", date].filter(Boolean).join(" · ");
      const quote = document.createElement("blockquote");
      quote.textContent = text;
      summary.dir = quote.dir = "auto";
      quote.lang = language;
      entry.append(summary, quote);
      return entry;
    }),
  );
  note.textContent = why;
}
watch("value", draw);
draw();
