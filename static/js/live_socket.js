// The live channel: one socket says which topics changed, and live.js makes the elements that show them ask again.
// Every few seconds the server says that it is alive and hears of changes. A page that misses this, or whose socket is
// closed, says so and polls until it is live again.
(() => {
  const POLL = 4000, RETRY = [500, 10000];
  // Two missed beats (apps/live/beats.py). A timer that is later than LATE was throttled with its tab.
  const SILENCE = 9000, LATE = 1000;
  const WORDS = {
    live: ["Live", "Changes are shown as they happen."],
    deaf: ["Polling", "The server is not hearing of changes. This page checks every 4 seconds."],
    lost: ["Reconnecting", "The connection is lost. This page checks every 4 seconds."],
    silent: ["No answer", "The server is not answering. What is shown may be out of date."],
    ended: ["Signed out", "The session has ended."],
  };
  const state = document.getElementById("live-state");
  let socket, subscribed = [], retry = RETRY[0], again, polling, watch, heardAt = 0;
  let link = "", isAnswered = true;

  const topics = () => [...new Set([...document.querySelectorAll("[data-live]")].map((element) => element.dataset.live))];
  const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));
  const show = () => {
    const [word, title] = WORDS[link === "lost" && !isAnswered ? "silent" : link];
    state.hidden = topics().length === 0;
    state.dataset.liveState = link === "live" ? "live" : "reconnecting";
    state.title = title;
    const place = state.querySelector("[data-live-word]");
    if (place.textContent !== word) place.textContent = word;
  };
  // If the server does not answer, only one element at a time asks it.
  const poll = () => !document.hidden && tell("live:stale", { most: isAnswered ? Infinity : 1 });
  const be = (next) => {
    link = next;
    if (link === "live") polling = clearInterval(polling);
    else polling ||= setInterval(poll, POLL);
    show();
  };

  const expectBeat = () => {
    clearTimeout(watch);
    watch = setTimeout(judge, SILENCE, performance.now() + SILENCE);
  };
  const judge = (dueAt) => {
    if (performance.now() - dueAt > LATE) return expectBeat(); // what came while the tab slept may still be unread
    isAnswered = false;
    lose("lost");
    poll();
  };
  const lose = (next) => {
    // A frozen server does not answer the closing handshake; the browser ends it eventually.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    socket = undefined;
    clearTimeout(watch);
    be(next);
    again = setTimeout(connect, retry * (0.5 + Math.random() / 2));
    retry = Math.min(RETRY[1], retry * 2);
  };
  const connect = () => {
    clearTimeout(again);
    if (socket || !topics().length) return;
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/dashboard`);
    subscribed = [];
    socket.onopen = subscribe;
    socket.onmessage = ({ data }) => hear(JSON.parse(data));
    socket.onclose = ({ code }) => lose(code === 4401 ? "ended" : "lost");
    expectBeat();
  };
  const subscribe = () => {
    if (socket?.readyState !== WebSocket.OPEN) return;
    const wanted = topics();
    const added = wanted.filter((topic) => !subscribed.includes(topic));
    const gone = subscribed.filter((topic) => !wanted.includes(topic));
    if (added.length || gone.length) socket.send(JSON.stringify({ subscribe: added, unsubscribe: gone }));
    subscribed = wanted;
  };
  const hear = (message) => {
    heardAt = performance.now();
    retry = RETRY[0];
    isAnswered = true;
    expectBeat();
    if ("beat" in message) be(message.listening ? "live" : "deaf");
    else if (message.resync) tell("live:stale", {});
    else if (message.subscribed) tell("live:stale", { topic: message.subscribed }); // changes were not heard of until now
    else if (message.id) tell("live:changed", message);
  };

  document.addEventListener("live:answered", ({ detail }) => {
    if (!detail.isAnswered && link === "live") setTimeout(tell, POLL, "live:stale", { id: detail.id });
    if (socket?.readyState === WebSocket.OPEN || detail.isAnswered === isAnswered) return;
    isAnswered = detail.isAnswered;
    if (link) show();
    if (isAnswered) connect();
  });
  let isDue = false;
  document.addEventListener("htmx:load", () => {
    if (isDue) return; // it is said of each new element, of hundreds in one task
    isDue = true;
    queueMicrotask(() => { isDue = false; if (link) subscribe(); else connect(); });
  });
  const wake = () => {
    if (document.hidden) return;
    if (link && !socket) connect();
    if (socket && performance.now() - heardAt > SILENCE) tell("live:stale", {});
  };
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  connect();
})();
