// Collects what is dropped or chosen, and sends it file by file.
const token = document.querySelector("meta[name=token]").content;
const at = (name) => document.querySelector(`#${name}`);
const files = new Map();
const alone = /\.(zip|tar|tgz|tbz2|txz|gz|bz2|xz|csv|tsv|jsonl|ndjson|parquet|h5ad)$/i;

function add(path, file) {
  const parts = path.split("/").filter(Boolean);
  if (parts.some((one) => one.startsWith("."))) return;
  if (parts.length === 1 && !alone.test(path)) {
    const label = at("class").value.trim();
    if (!label) {
      at("collected").textContent = `${path}: name its class first, or drop a folder with a sub-folder for each class.`;
      return;
    }
    parts.unshift(label);
  }
  files.set(parts.join("/"), file);
  if (!at("name").value) at("name").value = alone.test(path) ? parts.at(-1).replace(/\..*/, "") : "data";
}

function tell() {
  const classes = new Map();
  for (const path of files.keys()) {
    const label = path.includes("/") ? path.split("/").at(-2) : path;
    classes.set(label, (classes.get(label) ?? 0) + 1);
  }
  const named = [...classes].slice(0, 8).map(([label, count]) => (count > 1 ? `${label}: ${count}` : label)).join(", ");
  if (files.size) at("collected").textContent = `${files.size} files to add (${named}${classes.size > 8 ? ", …" : ""}).`;
  at("send").disabled = !files.size;
}

async function walk(entry, before) {
  if (entry.isFile) {
    add(before + entry.name, await new Promise((done, failed) => entry.file(done, failed)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return;
    for (const one of some) await walk(one, `${before}${entry.name}/`);
  }
}

function chosen(event) {
  for (const file of event.target.files) {
    const path = file.webkitRelativePath;
    if (path && !at("name").value) at("name").value = path.split("/")[0];
    add(path ? path.split("/").slice(1).join("/") : file.name, file);
  }
  event.target.value = "";
  tell();
}

async function dropped(event) {
  event.preventDefault();
  at("drop").classList.remove("over");
  const entries = [...event.dataTransfer.items].map((one) => one.webkitGetAsEntry()).filter(Boolean);
  const single = entries.length === 1 && entries[0].isDirectory;
  if (single && !at("name").value) at("name").value = entries[0].name;
  for (const entry of entries) await walk(entry, "");
  if (single) {
    for (const [path, file] of [...files]) {
      if (path.startsWith(`${entries[0].name}/`)) {
        files.delete(path);
        files.set(path.slice(entries[0].name.length + 1), file);
      }
    }
  }
  tell();
}

async function ask(path, method, body) {
  const reply = await fetch(path, { method, body, headers: { "X-Regraft-Token": token } });
  if (!reply.ok) throw new Error(await reply.text());
  return reply;
}

async function send(event) {
  event.preventDefault();
  const [button, bar] = [at("send"), at("sent")];
  button.disabled = true;
  bar.hidden = false;
  try {
    const begun = await ask(`/uploads?name=${encodeURIComponent(at("name").value)}`, "POST");
    const { name } = await begun.json();
    let done = 0;
    for (const [path, file] of files) {
      await ask(`/uploads/${encodeURIComponent(name)}/${path.split("/").map(encodeURIComponent).join("/")}`, "PUT", file);
      bar.value = ++done / files.size;
    }
    const ended = await ask(`/uploads/${encodeURIComponent(name)}`, "POST");
    location.href = (await ended.json()).at;
  } catch (error) {
    at("collected").textContent = error.message;
    button.disabled = false;
  }
}

at("folder").addEventListener("change", chosen);
at("files").addEventListener("change", chosen);
at("drop").addEventListener("submit", send);
at("drop").addEventListener("drop", dropped);
at("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
at("drop").addEventListener("dragleave", () => at("drop").classList.remove("over"));
