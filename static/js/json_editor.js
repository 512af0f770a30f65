// JSON in textareas: formats it without touching a digit, jumps to the place of a complaint, marks refused fields.
(() => {
  const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
  const INDENT = "  ";

  // By tokens, because JSON.parse would round big integers and drop repeated keys. Null if it is not JSON.
  const format = (text) => {
    const tokens = text.match(TOKEN) ?? [];
    if (text.replace(TOKEN, "").trim() || !tokens.length) return null;
    let out = "", depth = 0;
    tokens.forEach((token, place) => {
      const before = tokens[place - 1];
      if (token === "}" || token === "]") {
        depth -= 1;
        out += before === "{" || before === "[" ? token : `\n${INDENT.repeat(Math.max(0, depth))}${token}`;
        return;
      }
      if (before === "{" || before === "[" || before === ",") out += `\n${INDENT.repeat(Math.max(0, depth))}`;
      out += token === ":" ? ": " : token;
      if (token === "{" || token === "[") depth += 1;
    });
    return depth === 0 ? out : null;
  };
  const goTo = (field, line, column) => {
    const lines = field.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0) + column - 1;
    field.focus();
    field.setSelectionRange(start, Math.min(start + 1, field.value.length));
    field.scrollTop = (line - 3) * parseFloat(getComputedStyle(field).lineHeight);
  };

  document.addEventListener("click", ({ target }) => {
    const formatter = target.closest("[data-json-format]"), place = target.closest("[data-json-place]");
    if (formatter) {
      const field = document.getElementById(formatter.dataset.jsonFormat), text = format(field.value);
      if (text === null || text === field.value) return;
      field.value = text;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    } else if (place) {
      const field = document.getElementById(place.dataset.jsonFor);
      const details = field?.closest("details");
      if (details) details.open = true;
      if (field) goTo(field, ...place.dataset.jsonPlace.split(":").map(Number));
    }
  });
  document.addEventListener("htmx:afterSettle", () => {
    document.querySelectorAll("textarea[data-json]").forEach((field) => {
      const notes = document.getElementById(field.getAttribute("aria-describedby"));
      field.setAttribute("aria-invalid", String(Boolean(notes?.childElementCount)));
    });
  });
})();
