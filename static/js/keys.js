// Keyboard: the keys of _keys.html. An element with data-key="<key>" is clicked by that key, one with
// data-go="<key>" by g and that key.
(() => {
  const ROUTE_WAIT = 1200;
  let goUntil = 0, chosen = -1;

  const rows = () => [...document.querySelectorAll("[data-row]")];
  const choose = (step) => {
    const all = rows();
    if (!all.length) return false;
    chosen = Math.min(all.length - 1, Math.max(0, chosen + step));
    all.forEach((row, index) => row.classList.toggle("is-chosen", index === chosen));
    const link = all[chosen].querySelector("[data-row-link]");
    link.focus({ preventScroll: true });
    all[chosen].scrollIntoView({ block: "nearest" });
    return true;
  };
  const act = (key) => {
    if (performance.now() < goUntil) {
      goUntil = 0;
      const link = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
      if (link) { link.click(); return true; }
    }
    if (key === "g") { goUntil = performance.now() + ROUTE_WAIT; return true; }
    if (key === "?") { document.getElementById("keys").showModal(); return true; }
    if (key === "/") {
      const search = document.querySelector("[data-search]");
      search?.select();
      return Boolean(search);
    }
    if ((key === "j" && choose(1)) || (key === "k" && choose(-1))) return true;
    const target = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
    target?.click();
    return Boolean(target);
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (act(event.key)) event.preventDefault();
  });
})();
