// The live channel: the socket says which topics changed, and the elements with data-live="<topic>" refetch themselves.
// An element asks at most every 250 ms; a hidden tab is silent; while the socket is down the page polls.
(() => {
  const GAP = 250, JITTER = 120, POLL = 4000, SETTLE = 50, RETRY = [500, 10000];
  const state = document.getElementById("live-state");
  const slots = new Map();
  let socket, retry = RETRY[0], polling, subscribed = [];

  const elements = () => [...document.querySelectorAll("[data-live]")];
  const topics = () => [...new Set(elements().map((element) => element.dataset.live))];
  const show = (name, word) => {
    state.hidden = topics().length === 0;
    state.dataset.liveState = name;
    const place = state.querySelector("[data-live-word]");
    if (place.textContent !== word) place.textContent = word;
  };
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
    // An element that was swapped in a moment ago does not listen before htmx has settled it.
    if (!one.isBusy) one.timer = setTimeout(refetch, SETTLE, id);
  };
  const schedule = (element) => {
    const one = slot(element.id);
    if (one.timer) return;
    const wait = Math.max(0, one.last + GAP - performance.now()) + Math.random() * (one.last > 0 ? JITTER : 0);
    one.timer = setTimeout(refetch, wait, element.id);
  };
  const hear = (topic, runId) => {
    const isRow = document.getElementById(runId)?.hasAttribute("data-row");
    for (const element of elements()) {
      if (element.dataset.live !== topic) continue;
      if ("liveRows" in element.dataset) {
        if (!isRow) continue;
        slot(element.id).ids.add(runId);
      } else if ("liveOthers" in element.dataset && isRow) continue;
      schedule(element);
    }
  };
  const refetchAll = (topic) => elements().forEach((element) => {
    if (topic && element.dataset.live !== topic) return;
    if ("liveRows" in element.dataset)
      element.querySelectorAll("[data-row]").forEach((row) => slot(element.id).ids.add(row.id));
    schedule(element);
  });

  const subscribe = () => {
    if (socket?.readyState !== WebSocket.OPEN) return;
    const wanted = topics();
    const added = wanted.filter((topic) => !subscribed.includes(topic));
    const gone = subscribed.filter((topic) => !wanted.includes(topic));
    if (added.length || gone.length) socket.send(JSON.stringify({ subscribe: added, unsubscribe: gone }));
    subscribed = wanted;
  };
  const connect = () => {
    if (!topics().length) return;
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/dashboard`);
    socket.onopen = () => {
      retry = RETRY[0];
      clearInterval(polling);
      subscribed = [];
      subscribe();
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.resync) refetchAll();
      else if (message.subscribed) refetchAll(message.subscribed); // what changed since the page was made was not heard
      if (message.subscribed || message.refused) show("live", "Live");
      if (message.id) hear(message.topic, message.id);
    };
    socket.onclose = (event) => {
      show("reconnecting", event.code === 4401 ? "Signed out" : "Reconnecting");
      clearInterval(polling);
      polling = setInterval(() => !document.hidden && refetchAll(), POLL);
      setTimeout(connect, retry * (0.5 + Math.random() / 2));
      retry = Math.min(RETRY[1], retry * 2);
    };
  };

  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (!detail.elt.dataset.live) return;
    const one = slot(detail.elt.id);
    one.isBusy = true;
    if (!("liveRows" in detail.elt.dataset)) return;
    detail.parameters.ids = [...one.ids].join(",");
    one.ids.clear();
  });
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    // A session that ended answers with the sign-in page, which must not land inside this one.
    if (new URL(detail.xhr.responseURL || location.href).pathname.startsWith("/sign-in")) {
      detail.shouldSwap = false;
      location.reload();
    }
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    const id = detail.requestConfig.elt.id; // detail.elt is an ancestor where the element was replaced
    if (!slots.has(id)) return;
    const one = slot(id);
    one.isBusy = false;
    one.last = performance.now();
    const element = document.getElementById(id);
    if (element?.dataset.live && (one.isDirty || one.ids.size)) schedule(element);
  });
  document.addEventListener("htmx:load", subscribe);
  document.addEventListener("trigger:outgrown", ({ target }) => {
    const element = target.closest("[data-live]");
    if (element) schedule(element);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    elements().filter((element) => slot(element.id).isDirty || slot(element.id).ids.size).forEach(schedule);
  });

  // What the viewer opened or closed stays so through a morph.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.matches("details, dialog"));
  connect();
})();
