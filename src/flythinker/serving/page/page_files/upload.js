// Files are read here and sent as text: the server keeps no copy of them.
const input = element.querySelector("input");
const message = element.querySelector(".fly-message");
input.addEventListener("change", async () => {
  const files = [...input.files];
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (size > props.limit) {
    message.textContent = `Too large: up to ${Math.floor(props.limit / 1024)} KiB at a time.`;
  } else if (files.length) {
    message.textContent = "";
    const read = files.map(async (file) => ({
      name: file.name,
      changed: file.lastModified,
      text: await file.text(),
    }));
    trigger("upload", { files: await Promise.all(read) });
  }
  input.value = "";
});
