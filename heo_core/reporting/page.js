"use strict";
(() => {
  const config = {
    responsive: true,
    displaylogo: false,
    // Without a mouse the buttons would always stand on the figure.
    displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
    // An allow list: plotly's own set has a button that would send the figure to a web service.
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  const plots = [...document.querySelectorAll(".plot")];
  const draw = async () => {
    for (const plot of plots) {
      const figure = JSON.parse(document.getElementById("figure-" + plot.dataset.figure).textContent);
      const image = { format: "svg", filename: plot.dataset.figure };
      await Plotly.newPlot(plot, figure.data, figure.layout, { ...config, toImageButtonOptions: image });
      await new Promise((resume) => setTimeout(resume)); // the reader may scroll meanwhile
    }
    document.documentElement.dataset.drawn = plots.length;
  };
  draw();

  // Paper has another width than the window.
  const resizeAll = () => plots.forEach((plot) => Plotly.Plots.resize(plot));
  window.matchMedia("print").addEventListener("change", resizeAll);
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
    resizeAll();
  });

  const valueOf = (row, index) => {
    const cell = row.cells[index];
    if (cell.dataset.order !== undefined) return Number(cell.dataset.order);
    const text = cell.textContent.trim();
    return text === "" || text === "–" ? null : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  for (const table of document.querySelectorAll("table.sortable")) {
    const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    headers.forEach((header, index) => {
      header.querySelector("button").addEventListener("click", () => {
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
      });
    });
  }

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  links.forEach((_, id) => observer.observe(document.getElementById(id)));
})();
