// A choice with data-submit-on-change sends its form at once; empty fields stay out of the address.
(() => {
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
  });
  document.addEventListener("submit", ({ target }) => {
    if (target.method !== "get") return;
    [...target.elements].forEach((field) => { if (field.name && !field.value) field.disabled = true; });
  });
  addEventListener("pageshow", () => document.querySelectorAll("form[method=get] :disabled").forEach((field) => { field.disabled = false; }));
})();
