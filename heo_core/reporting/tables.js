"use strict";
(() => {
  const NONE = "–";
  const textOf = (node) => (node ? node.textContent.replace(/\s+/g, " ").trim() : "");
  // A dash stays a dash where a small line says why.
  const withoutDetail = (cell) => {
    const whole = cell.cloneNode(true);
    whole.querySelector("small")?.remove();
    return whole;
  };
  const valueOf = (row, index) => {
    const cell = row.cells[index];
    if (cell.dataset.order !== undefined) return Number(cell.dataset.order);
    const text = textOf(withoutDetail(cell));
    return text === "" || text === NONE ? null : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  const sort = (table, headers, index) => {
    const header = headers[index];
    const descending = header.getAttribute("aria-sort") === "ascending";
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((x, y) => {
      const a = valueOf(x, index);
      const b = valueOf(y, index);
      const aside = x.classList.contains("aside") - y.classList.contains("aside");
      if (aside) return aside;
      if (a === null || b === null) return (a === null) - (b === null);
      return descending ? compare(b, a) : compare(a, b);
    });
    table.tBodies[0].append(...rows);
  };

  // What a cell says in its large and its small line, and behind them: the number before it was rounded, its interval.
  const read = (cell) => {
    const detail = cell.querySelector("small");
    const text = textOf(withoutDetail(cell));
    const number = (name) => (cell.dataset[name] === undefined ? null : Number(cell.dataset[name]));
    return { value: number("order") ?? (text === NONE ? null : text), low: number("low"), high: number("high"), detail: textOf(detail) };
  };

  const tabulate = (table, headers) => {
    const groups = [...(table.tHead.querySelector(".groups")?.cells ?? [])].flatMap((cell) => Array(cell.colSpan).fill(textOf(cell)));
    const body = [...table.tBodies[0].rows].map((row) => [...row.cells].map(read));
    const columns = headers.map((header, index) => {
      const unit = textOf(header.querySelector("small"));
      const title = withoutDetail(header.querySelector("button"));
      const name = [groups[index], textOf(title)].filter(Boolean).join(": ") + (unit ? ` (${unit})` : "");
      const cells = body.map((row) => row[index]);
      const found = [[name, cells.map((cell) => cell.value)]];
      if (cells.some((cell) => cell.low !== null)) {
        found.push([name + ", 95 % low", cells.map((cell) => cell.low)], [name + ", 95 % high", cells.map((cell) => cell.high)]);
      }
      const notes = cells.map((cell) => (cell.low === null && cell.detail ? cell.detail : null));
      if (notes.some(Boolean)) found.push([name + ", note", notes]);
      return found;
    }).flat();
    return [columns.map(([name]) => name), ...body.map((_, index) => columns.map(([, values]) => values[index]))];
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    headers.forEach((header, index) => {
      header.querySelector("button").addEventListener("click", () => sort(table, headers, index));
    });
    const scroll = table.closest(".scroll");
    const label = `Download the table ${scroll.getAttribute("aria-label")} as CSV`;
    scroll.after(csv.makeTools(csv.makeButton("CSV", label, () => csv.save(table.dataset.file, tabulate(table, headers)))));
  }
})();
