"use strict";

// Airflow shows a page in a frame that may not navigate its window: the window goes there instead.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-airflow]");
  if (!link || window.top === window || event.defaultPrevented) return;
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  window.top.history.pushState({}, "", link.href);
  window.top.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
});

// A time in the viewer's own zone; what the page said, in UTC, when the pointer rests on it.
const pad = (n) => String(n).padStart(2, "0");
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  const day = [at.getFullYear(), at.getMonth() + 1, at.getDate()].map(pad).join("-");
  const here = `${day} ${pad(at.getHours())}:${pad(at.getMinutes())}`;
  const said = /\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)? UTC/;
  const utc = time.textContent.match(said);
  if (!utc) continue;
  time.title = utc[0];
  time.textContent = time.textContent.replace(said, here);
}

// A click on a command or an id copies it; one that is shown shortened carries the whole of it.
async function copy(code) {
  const text = code.dataset.whole || code.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page that came by plain HTTP has no clipboard: select it and copy the old way.
    code.textContent = text;
    window.getSelection().selectAllChildren(code);
    if (!document.execCommand("copy")) return;
  }
  code.dataset.said = "copied";
  setTimeout(() => delete code.dataset.said, 1500);
}
for (const code of document.querySelectorAll("main code")) {
  code.title = "Click to copy";
  code.addEventListener("click", () => copy(code));
}
document.addEventListener("keydown", (event) => {
  const command = event.target.closest("pre.command");
  if (command && event.key === "Enter") copy(command.firstElementChild);
});
