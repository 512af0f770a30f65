// Keeps the newest log line in view while "follow" is on; scrolling up turns it off.
(() => {
  const NEAR = 24;
  const log = document.querySelector("[data-log]");
  const follow = document.querySelector("[data-log-follow]");
  if (!log || !follow) return;

  const toEnd = () => { if (follow.checked) log.scrollTop = log.scrollHeight; };
  log.addEventListener("wheel", (event) => { if (event.deltaY < 0) follow.checked = false; }, { passive: true });
  log.addEventListener("scroll", () => {
    if (log.scrollHeight - log.scrollTop - log.clientHeight < NEAR) follow.checked = true;
  }, { passive: true });
  follow.addEventListener("change", toEnd);
  log.addEventListener("htmx:afterSettle", toEnd);
  document.addEventListener("htmx:afterSettle", (event) => { if (event.target.id?.startsWith("log-")) toEnd(); });
  toEnd();
})();
