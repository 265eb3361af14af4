"use strict";
// Paper has another width than the window, and does not scroll: what is folded is opened, figures are drawn again, and
// a table too wide is printed in parts that each begin with its first columns.
(() => {
  const WIDTH = 680; // px between the margins of A4 and Letter, from the style of the page

  const splitColumns = (headers) => {
    const widths = headers.map((header) => header.offsetWidth);
    let firstNumber = headers.findIndex((header) => header.classList.contains("number"));
    if (firstNumber < 0) firstNumber = headers.length;
    const keys = headers.slice(0, Math.max(1, Math.min(2, firstNumber))).map((_, index) => index);
    const taken = keys.reduce((sum, index) => sum + widths[index], 0);
    const parts = [];
    let width = Infinity;
    for (let index = keys.length; index < headers.length; index++) {
      if (width + widths[index] > WIDTH) {
        parts.push([...keys]);
        width = taken;
      }
      parts[parts.length - 1].push(index);
      width += widths[index];
    }
    return parts;
  };

  const keepColumns = (row, kept) => {
    let index = 0;
    for (const cell of [...row.cells]) {
      const places = Array.from({ length: cell.colSpan }, () => index++);
      const span = places.filter((place) => kept.has(place)).length;
      if (span) cell.colSpan = span;
      else cell.remove();
    }
  };

  const split = (table) => {
    table.parentElement.style.width = WIDTH + "px"; // as wide as on paper, to measure
    const isWide = table.scrollWidth > WIDTH;
    const parts = isWide ? splitColumns([...table.tHead.rows[table.tHead.rows.length - 1].cells]) : [];
    table.parentElement.style.width = "";
    if (!isWide) return;
    parts.forEach((columns, number) => {
      const part = table.cloneNode(true);
      part.id = `${table.id}-part-${number + 1}`;
      part.classList.add("part");
      if (number) part.querySelector("caption")?.remove();
      for (const row of part.rows) keepColumns(row, new Set(columns));
      table.parentElement.append(part);
    });
    table.classList.add("parted");
  };

  const restore = () => {
    document.querySelectorAll("table.part").forEach((part) => part.remove());
    document.querySelectorAll("table.parted").forEach((table) => table.classList.remove("parted"));
  };

  const resizeAll = () => document.querySelectorAll(".plot").forEach((plot) => plot.data && Plotly.Plots.resize(plot));
  window.matchMedia("print").addEventListener("change", resizeAll);
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
    restore();
    document.querySelectorAll("table.sortable").forEach(split);
    resizeAll();
  });
  window.addEventListener("afterprint", restore);
})();
