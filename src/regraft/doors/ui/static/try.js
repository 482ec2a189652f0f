// Sends what is dropped, chosen or typed to the model, and shows what it says.
const form = document.querySelector("#try");
export const said = document.querySelector("#said");
const token = document.querySelector("meta[name=token]").content;

export async function predict(files) {
  const text = document.querySelector("#text")?.value;
  const body = new FormData();
  for (const file of files) body.append("file", file, file.name);
  if (!files.length && text) body.append("text", text);
  said.textContent = "Predicting …";
  try {
    const reply = await fetch(form.dataset.to, { method: "POST", body, headers: { "X-Regraft-Token": token } });
    const told = await reply.text();
    if (reply.ok) said.innerHTML = told;
    else said.textContent = told;
  } catch (error) {
    said.textContent = error.message;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  predict(document.querySelector("#tried").files);
});
document.querySelector("#tried").addEventListener("change", (event) => predict(event.target.files));
form.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  predict(event.dataTransfer.files);
});
