// Gradio's list of users answers the tab key after it has lost the focus: it opens again, and stays
// open over what is below. So the list is not told of that key.
document.addEventListener(
  "keydown",
  (event) => event.key === "Tab" && event.target.closest("#fly-user") && event.stopPropagation(),
  true,
);
