// Copies data-copy="<text>" on click and says so for a moment.
(() => {
  const SHOWN = 1200;
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("is-copied");
    setTimeout(() => button.classList.remove("is-copied"), SHOWN);
  });
})();
