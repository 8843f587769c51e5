// Renews the digest below a form as the form is filled in. Without it a button does the same.
const form = document.querySelector("form[data-preview]");
const shown = document.getElementById("digest-now");
const said = document.getElementById("digest-said");
const QUIET_MS = 500; // after the last key or tick
let timer = 0;
let asked = null;

async function renew() {
  asked?.abort();
  asked = new AbortController();
  const data = new FormData(form);
  data.delete("file");
  shown.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.dataset.preview, { method: "POST", body: data, signal: asked.signal });
    if (answer.ok) {
      shown.innerHTML = await answer.text();
      said.textContent = said.dataset.said;
    }
  } catch (error) {
    if (error.name === "AbortError") return; // a newer question is on its way
  }
  shown.removeAttribute("aria-busy");
}

if (form && shown) {
  form.addEventListener("input", (event) => {
    if (["q", "person", "pasted", "file"].includes(event.target.name)) return;
    said.textContent = "";
    clearTimeout(timer);
    timer = setTimeout(renew, QUIET_MS);
  });
}
