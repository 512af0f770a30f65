// A line under the pointer on the timeline, with the offset at that place of the scale.
(() => {
  const line = document.createElement("div");
  line.className = "cursor";
  line.hidden = true;

  const label = (milliseconds) => {
    const seconds = milliseconds / 1000;
    if (seconds < 1) return `+${milliseconds.toFixed(0)} ms`;
    return seconds < 60 ? `+${seconds.toFixed(2)} s` : `+${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  };
  // Between two corners of the scale time is linear, even where idle time is shortened.
  const offsetAt = (timeline, percent) => {
    const points = timeline.dataset.cursor.split(" ").filter(Boolean).map((pair) => pair.split(":").map(Number));
    const next = points.findIndex(([x]) => x >= percent);
    if (next < 1) return "";
    const [[x0, t0], [x1, t1]] = [points[next - 1], points[next]];
    return x1 === x0 ? "" : label((t0 + ((percent - x0) / (x1 - x0)) * (t1 - t0)) * 1000);
  };

  document.addEventListener("pointermove", (event) => {
    const timeline = event.target.closest?.("[data-cursor]");
    const drawing = timeline?.querySelector(".trow-svg");
    if (!drawing) { line.hidden = true; return; }
    const box = drawing.getBoundingClientRect(), frame = timeline.getBoundingClientRect();
    const percent = ((event.clientX - box.left) / box.width) * 100;
    const text = percent >= 0 ? offsetAt(timeline, percent) : "";
    line.hidden = !text;
    if (!text) return;
    if (line.parentElement !== timeline) timeline.append(line);
    line.textContent = text;
    line.classList.toggle("is-left", percent > 80);
    line.style.left = `${event.clientX - frame.left}px`;
  });
})();
