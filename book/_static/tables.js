/* Wide tables say that they scroll. Long tables: a box to filter the rows, heads that sort them. Without scripts they are plain tables. */
document.addEventListener("DOMContentLoaded", () => {
  const number = (text) => parseFloat(text.replace(/,/g, ""));
  const by = (column, sign) => (a, b) => {
    const [x, y] = [a, b].map((row) => row.cells[column]?.textContent.trim() ?? "");
    const [m, n] = [x, y].map(number);
    return sign * (isNaN(m) || isNaN(n) ? x.localeCompare(y) : m - n);
  };
  const sizes = new ResizeObserver((boxes) => {
    for (const {target} of boxes) target.classList.toggle("wide", target.scrollWidth > target.clientWidth + 1);
  });
  const wanted = new URLSearchParams(location.search).get("rows"); // a point of a figure led here
  document.querySelectorAll(".pst-scrollable-table-container").forEach((box) => sizes.observe(box));
  for (const table of document.querySelectorAll(".bd-article table")) {
    const body = table.tBodies[0];
    if (!table.tHead || !body || body.rows.length < 10) continue;

    const box = document.createElement("input");
    box.type = "search";
    box.className = "table-filter";
    box.placeholder = `Filter ${body.rows.length} rows`;
    box.setAttribute("aria-label", box.placeholder);
    const holds = (row, words) => words.toLowerCase().split(/\s+/).every((word) => row.textContent.toLowerCase().includes(word));
    box.addEventListener("input", () => {
      for (const row of body.rows) row.hidden = !holds(row, box.value);
    });
    table.before(box);
    if (wanted && [...body.rows].some((row) => holds(row, wanted))) {
      box.value = wanted;
      box.dispatchEvent(new Event("input"));
      table.closest("details")?.setAttribute("open", "");
      box.scrollIntoView();
    }

    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const sign = head.ariaSort === "ascending" ? -1 : 1;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.ariaSort = sign > 0 ? "ascending" : "descending";
        body.append(...[...body.rows].sort(by(column, sign)));
      });
    });
  }
});
