// Keeps a part of the page as the server has it; when a job comes to its end, the whole page is loaded again.
const part = document.querySelector("[data-live]");
const told = document.querySelector("#told");
const over = new Set(["done", "failed", "stopped", "interrupted"]);

async function look() {
  try {
    const reply = await fetch(part.dataset.live, { headers: { Accept: "text/html" } });
    const text = await reply.text();
    if (reply.ok && text !== part.dataset.last) {
      part.dataset.last = text;
      part.innerHTML = text;
      const state = part.querySelector("#state").dataset.state;
      if (state !== part.dataset.state) {
        part.dataset.state = state;
        told.textContent = state;
        location.reload();
        return;
      }
    }
  } catch {
    // the server is away; it will come back
  }
  setTimeout(look, document.hidden ? 5000 : 1000);
}

if (!over.has(part.dataset.state)) setTimeout(look, 500);
