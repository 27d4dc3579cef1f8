// Files are read here and sent as base64: the server keeps no copy of them.
const base64 = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
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
      data: file.size ? await base64(file) : "",
    }));
    trigger("upload", { files: await Promise.all(read) });
  }
  input.value = "";
});
