// Sets the chosen theme before the first paint, which is why this file alone is not deferred.
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
