// Elements with data-live="<topic>" refetch themselves when live_socket.js says that their topic has changed.
// Each asks at most every 250 ms and takes no answer after ASK; a hidden tab is silent.
(() => {
  const GAP = 250, JITTER = 120, SETTLE = 50, ASK = 10000;
  const slots = new Map();
  let leftAt = -Infinity;

  const elements = () => [...document.querySelectorAll("[data-live]")];
  const slot = (id) => {
    if (!slots.has(id)) slots.set(id, { last: -Infinity, timer: 0, isBusy: false, isDirty: false, ids: new Set(), sent: [] });
    return slots.get(id);
  };

  const refetch = (id) => {
    const element = document.getElementById(id), one = slot(id);
    one.timer = 0;
    if (!element || !element.dataset.live) return;
    if (document.hidden || one.isBusy) { one.isDirty = true; return; }
    one.isDirty = false;
    htmx.trigger(element, "live");
    // An element that was just swapped in does not listen until htmx has settled it.
    if (!one.isBusy) one.timer = setTimeout(refetch, SETTLE, id);
  };
  const schedule = (element) => {
    const one = slot(element.id);
    if (one.timer) return;
    const wait = Math.max(0, one.last + GAP - performance.now()) + Math.random() * (one.last > 0 ? JITTER : 0);
    one.timer = setTimeout(refetch, wait, element.id);
  };

  document.addEventListener("live:changed", ({ detail }) => {
    const isRow = document.getElementById(detail.id)?.hasAttribute("data-row");
    for (const element of elements()) {
      if (element.dataset.live !== detail.topic) continue;
      if ("liveRows" in element.dataset) {
        if (!isRow) continue;
        slot(element.id).ids.add(detail.id);
      } else if ("liveOthers" in element.dataset && isRow) continue;
      schedule(element);
    }
  });
  // It is unknown what changed: all elements, or those of a topic, or the one with an id, or the first few.
  document.addEventListener("live:stale", ({ detail: { topic, id, most } }) => {
    const stale = elements().filter((one) => (!topic || one.dataset.live === topic) && (!id || one.id === id));
    stale.slice(0, most).forEach((element) => {
      if ("liveRows" in element.dataset)
        element.querySelectorAll("[data-row]").forEach((row) => slot(element.id).ids.add(row.id));
      schedule(element);
    });
  });

  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (!detail.elt.dataset.live) return;
    const one = slot(detail.elt.id);
    one.isBusy = true;
    detail.timeout = ASK;
    if (!("liveRows" in detail.elt.dataset)) return;
    one.sent = [...one.ids];
    detail.parameters.ids = one.sent.join(",");
    one.ids.clear();
  });
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    // An ended session answers with the sign-in page, which must not be swapped into this one.
    if (new URL(detail.xhr.responseURL || location.href).pathname.startsWith("/sign-in")) {
      detail.shouldSwap = false;
      // Whoever is just signing out is on the way to another page already.
      if (performance.now() - leftAt > ASK) location.reload();
    }
  });
  window.addEventListener("beforeunload", () => { leftAt = performance.now(); });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    const id = detail.requestConfig.elt.id; // detail.elt is an ancestor if the element was replaced
    if (!slots.has(id)) return;
    const one = slot(id), status = detail.xhr.status;
    const isAnswered = status > 0 && status < 500 && status !== 429;
    one.isBusy = false;
    one.last = performance.now();
    if (!isAnswered) one.sent.forEach((row) => one.ids.add(row));
    one.sent = [];
    const element = document.getElementById(id);
    if (isAnswered && element?.dataset.live && (one.isDirty || one.ids.size)) schedule(element);
    document.dispatchEvent(new CustomEvent("live:answered", { detail: { id, isAnswered } }));
  });
  document.addEventListener("trigger:outgrown", ({ target }) => {
    const element = target.closest("[data-live]");
    if (element) schedule(element);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    elements().filter((element) => slot(element.id).isDirty || slot(element.id).ids.size).forEach(schedule);
  });

  // What the viewer opened or closed stays that way through a morph.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.matches("details, dialog"));
})();
