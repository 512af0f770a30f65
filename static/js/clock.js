// Keeps ages, running durations, countdowns and live bars up to date. One timer for the page; it rests in a hidden tab.
// Uses the server's clock, because the viewer's may be wrong.
(() => {
  const meta = document.querySelector('meta[name="server-now"]');
  const skew = meta ? Date.parse(meta.content) - Date.now() : 0;
  const now = () => Date.now() + skew;
  const drawnAt = new WeakMap();

  const two = (number) => String(number).padStart(2, "0");
  const duration = (seconds) => {
    if (seconds < 1) return `${Math.max(0, seconds * 1000).toFixed(0)} ms`;
    if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
    const whole = Math.floor(seconds);
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
    return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
  };
  const age = (seconds) => {
    const size = Math.abs(Math.trunc(seconds));
    if (size < 2) return "just now";
    const [length, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([length]) => size >= length);
    const count = `${Math.floor(size / length)} ${unit}`;
    return seconds > 0 ? `${count} ago` : `in ${count}`;
  };
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const exact = (text) => (isNaN(Date.parse(text)) ? text : format.format(new Date(text)));
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const seconds = (text) => (now() - Date.parse(text)) / 1000;
  const every = (selector, act) => document.querySelectorAll(selector).forEach(act);

  const grow = (bar) => {
    if (!drawnAt.has(bar) || bar.dataset.growFrom !== drawnAt.get(bar).from)
      drawnAt.set(bar, { at: now(), from: bar.dataset.growFrom });
    const elapsed = (now() - drawnAt.get(bar).at) / 1000;
    const width = Number(bar.dataset.growFrom) + elapsed * Number(bar.dataset.growRate);
    if (width <= Number(bar.dataset.growLimit)) bar.setAttribute("width", `${width}%`);
    else bar.dispatchEvent(new CustomEvent("trigger:outgrown", { bubbles: true }));
  };
  const fast = () => {
    every("[data-since]", (element) => write(element, duration(seconds(element.dataset.since))));
    every("[data-until]", (element) => {
      const left = -seconds(element.dataset.until);
      write(element, left > 0 ? `in ${left < 10 ? `${left.toFixed(1)} s` : duration(left)}` : "now");
    });
    every("[data-grow-rate]", grow);
  };
  const slow = () => {
    every("time[data-age]", (element) => {
      write(element, age(seconds(element.dateTime)));
      // The server's has one line.
      if (!element.title.includes("\n")) element.title = `${exact(element.dateTime)}\n${element.dateTime}`;
    });
    every("time[data-exact]", (element) => {
      if (element.title) return;
      write(element, exact(element.dateTime));
      element.title = element.dateTime;
    });
    every("time[data-clock]", (element) => {
      if (element.title) return;
      const at = new Date(element.dateTime);
      write(element, `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`);
      element.title = `${exact(element.dateTime)}\n${element.dateTime}`;
    });
  };

  let count = 0, isDue = false;
  const tick = () => {
    if (document.hidden) return;
    fast();
    if (count++ % 10 === 0) slow();
  };
  setInterval(tick, 100);
  // It is said of each new element, of hundreds in one task.
  document.addEventListener("htmx:afterSettle", () => {
    if (isDue) return;
    isDue = true;
    queueMicrotask(() => { isDue = false; fast(); slow(); });
  });
  document.addEventListener("visibilitychange", () => { count = 0; tick(); });
  tick();
})();
