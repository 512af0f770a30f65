// What cannot wait for the deferred scripts, which is why this file alone is not deferred: the theme, before the first
// paint; and the keys pressed before the scripts are there. <html data-ready> says that all scripts are attached.
(() => {
  const KEY = "trigger-theme";
  const root = document.documentElement;

  const read = () => {
    try { return localStorage.getItem(KEY) || "system"; } catch { return "system"; } // storage may be forbidden
  };
  const apply = (choice) => {
    if (choice === "system") delete root.dataset.theme;
    else root.dataset.theme = choice;
    document.querySelectorAll("[data-theme-choice]").forEach((button) =>
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice)));
  };

  apply(read());
  document.addEventListener("DOMContentLoaded", () => apply(read()));
  addEventListener("storage", (event) => event.key === KEY && apply(read()));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-choice]");
    if (!button) return;
    try { localStorage.setItem(KEY, button.dataset.themeChoice); } catch { /* the choice holds for this page */ }
    apply(button.dataset.themeChoice);
  });
})();

(() => {
  const MOST = 10, LATEST = 3000; // keys, and milliseconds after which nobody means them any more
  const early = [];

  const keep = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
    if (event.target.closest?.("input, textarea, select, dialog[open]")) return;
    if (early.length === MOST || (event.key.length > 1 && event.key !== "Escape")) return;
    early.push(event);
    event.stopImmediatePropagation(); // a script that is attached already hears it with the others
  };
  const ready = () => {
    removeEventListener("keydown", keep, true);
    document.documentElement.dataset.ready = "";
    for (const { key, timeStamp } of early)
      if (performance.now() - timeStamp < LATEST)
        (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  };

  addEventListener("keydown", keep, true);
  // In a task of its own: htmx attaches its elements in a listener of the same event, added after this one.
  document.addEventListener("DOMContentLoaded", () => setTimeout(ready));
})();
