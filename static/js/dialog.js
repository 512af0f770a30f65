// Opens <dialog> elements by data-dialog="<id>" and closes them by data-dialog-close, a click beside them, or Escape.
(() => {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) document.getElementById(opener.dataset.dialog)?.showModal();
    else if (event.target.closest("[data-dialog-close]")) event.target.closest("dialog").close();
    else if (event.target.matches("dialog")) event.target.close();
  });
  document.addEventListener("submit", (event) => {
    // A second click must not replay or cancel twice.
    event.target.querySelectorAll("dialog button[type=submit], button[type=submit]").forEach((button) => {
      if (button.closest("dialog")) setTimeout(() => { button.disabled = true; });
    });
  });
})();
