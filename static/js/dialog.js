// Opens <dialog> elements by data-dialog="<id>" and closes them by data-dialog-close or Escape, and by a click outside
// unless data-dialog-keep says that typed text would be lost.
(() => {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    const dialog = opener && document.getElementById(opener.dataset.dialog);
    if (dialog) {
      opener.focus(); // also if a key opened it: this is where the focus returns
      dialog.showModal();
    } else if (event.target.closest("[data-dialog-close]")) event.target.closest("dialog").close();
    else if (event.target.matches("dialog:not([data-dialog-keep])")) event.target.close();
  });
  document.addEventListener("submit", (event) => {
    // A second click must not replay or cancel twice.
    event.target.querySelectorAll("dialog button[type=submit], button[type=submit]").forEach((button) => {
      if (button.closest("dialog")) setTimeout(() => { button.disabled = true; });
    });
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("dialog button[type=submit]").forEach((button) => { button.disabled = false; });
  });

  const say = ({ detail }) => {
    const dialog = detail.target?.closest?.("dialog");
    const note = dialog?.querySelector("[data-dialog-note]") ?? dialog?.querySelector(".card-empty");
    if (!note) return;
    note.textContent = detail.xhr.status ? `The server answered ${detail.xhr.status}. Nothing was changed.` : "The server is not answering.";
    note.hidden = false;
  };
  document.addEventListener("htmx:responseError", say);
  document.addEventListener("htmx:sendError", say);
  document.addEventListener("htmx:afterOnLoad", ({ detail }) => {
    const note = detail.target?.closest?.("dialog")?.querySelector("[data-dialog-note]");
    if (note) note.hidden = true;
  });
})();
