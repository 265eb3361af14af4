"use strict";
(() => {
  const config = {
    responsive: true,
    displaylogo: false,
    // Without a mouse the buttons would always stand on the figure.
    displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
    // An allow list: plotly's own set has a button that would send the figure to a web service.
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]],
  };

  const plots = [...document.querySelectorAll(".plot")];
  const draw = async () => {
    for (const plot of plots) {
      const figure = JSON.parse(document.getElementById("figure-" + plot.dataset.figure).textContent);
      await Plotly.newPlot(plot, figure.data, figure.layout, config);
      plot.on("plotly_click", (event) => show(event.points[0]));
      addTools(plot);
      await new Promise((resume) => setTimeout(resume)); // the reader may scroll meanwhile
    }
    document.documentElement.dataset.drawn = plots.length;
  };

  // Labels are plotly's own markup with entities; the parser makes a text of them and runs nothing.
  const toText = (label) => new DOMParser().parseFromString(String(label), "text/html").documentElement.textContent;
  const toCell = (value) => {
    if (typeof value === "string") return toText(value);
    // Figures hold single precision: more digits than that were never measured.
    return typeof value === "number" ? Number(value.toPrecision(7)) : value ?? null;
  };

  const listPoints = (trace) => {
    if (trace.type !== "heatmap") {
      const extra = trace.meta?.columns?.length === 1 ? (i) => [trace.customdata[i]] : (i) => trace.customdata?.[i] ?? [];
      return Array.from(trace.x ?? [], (x, i) => [x, trace.y[i], null, ...(trace.meta?.columns ? extra(i) : [])]);
    }
    const points = [];
    Array.from(trace.z).forEach((row, j) => Array.from(row).forEach((z, i) => {
      if (z === null || Number.isNaN(z)) return;
      points.push([trace.x?.[i] ?? i, trace.y?.[j] ?? j, z, ...(trace.meta?.columns ? [trace.customdata[j][i]] : [])]);
    }));
    return points;
  };

  // What is the same of all points of a line (its structure), and the property that points are coloured by.
  const describeTrace = (trace) => trace.meta?.about ?? {};
  const colourOf = (trace, i) => {
    const colour = trace.marker?.color;
    const value = Array.isArray(colour) || ArrayBuffer.isView(colour) ? colour[i] : null;
    return trace.meta.names ? trace.meta.names[value] : value;
  };
  const listColumns = (trace) => [
    ...(trace.meta?.columns ?? []), ...Object.keys(describeTrace(trace)), ...(trace.meta?.colour ? [trace.meta.colour] : []),
  ];
  const findExtra = (trace, point, i, name) => {
    const place = (trace.meta?.columns ?? []).indexOf(name);
    if (place >= 0) return point[3 + place];
    return name === trace.meta?.colour ? colourOf(trace, i) : describeTrace(trace)[name];
  };

  // One row a point. Series that are marked as furniture (a diagonal, blank cells) have no hover and no row.
  const tabulate = (plot) => {
    const traces = plot._fullData.filter((trace) => trace.visible === true && trace.hoverinfo !== "skip");
    const extra = [...new Set(traces.flatMap(listColumns))];
    // An axis without a title only spreads names, which stand in a column of their own.
    const titleOf = (axis) => (axis?.visible === false || !axis?.title?.text ? null : toText(axis.title.text));
    const { xaxis, yaxis } = plot._fullLayout;
    const value = traces.find((trace) => trace.meta?.value)?.meta.value ?? null;
    const names = [titleOf(xaxis), titleOf(yaxis), value];
    const kept = [0, 1, 2].filter((place) => names[place] !== null);
    const rows = traces.flatMap((trace) => listPoints(trace).map((point, i) => [
      toText(trace.meta?.series ?? trace.name ?? ""),
      ...kept.map((place) => toCell(point[place])),
      ...extra.map((name) => toCell(findExtra(trace, point, i, name) ?? null)),
    ]));
    return [["series", ...kept.map((place) => names[place]), ...extra.map(toText)], ...rows];
  };

  const addTools = (plot) => {
    const name = plot.dataset.file;
    const title = plot.closest("figure").querySelector("figcaption b").textContent.replace(/\.$/, "");
    const save = (format) => Plotly.downloadImage(plot, {
      format, filename: name, width: plot.clientWidth, height: plot.clientHeight, scale: format === "png" ? 3 : 1,
    });
    plot.closest("figure").append(csv.makeTools(
      csv.makeButton("CSV", `Download the data of ${title} as CSV`, () => csv.save(name, tabulate(plot))),
      csv.makeButton("SVG", `Download ${title} as SVG`, () => save("svg")),
      csv.makeButton("PNG", `Download ${title} as PNG`, () => save("png")),
    ));
  };

  // A structure that was clicked: its row in a table of the page, where there is one, and the query that shows it.
  const card = document.getElementById("picked");
  const show = (point) => {
    const meta = point.fullData.meta;
    if (!meta?.view) return;
    const told = meta.about ? Object.entries(meta.about) : [point.customdata].flat().map((text, i) => [meta.columns[i], text]);
    const about = Object.fromEntries(told.map(([name, text]) => [name, toText(text)]));
    const query = `select * from ${meta.view} where immutable_id = '${about.id.replaceAll("'", "''")}';`;
    const row = [...document.querySelectorAll("tr[data-structure]")].find((found) => found.dataset.structure === about.id);
    card.querySelector("b").textContent = about.formula ?? "";
    card.querySelector(".id").textContent = about.id;
    card.querySelector(".query").textContent = query;
    const copy = csv.makeButton("Copy the query", "Copy the SQL query that shows this structure", async () => {
      await copyText(query, card.querySelector(".query"));
      copy.textContent = "Copied";
    });
    const close = csv.makeButton("Close", "Close", () => { card.hidden = true; });
    const go = row ? [csv.makeButton("Go to its row", "Go to the row of this structure", () => goTo(row))] : [];
    card.querySelector(".tools").replaceChildren(...go, copy, close);
    card.hidden = false;
  };

  const copyText = async (text, node) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // refused, or a page that was not loaded safely
      window.getSelection().selectAllChildren(node);
      document.execCommand("copy");
    }
  };

  const goTo = (row) => {
    for (let parent = row.closest("details"); parent; parent = parent.parentElement.closest("details")) parent.open = true;
    document.querySelectorAll("tr.found").forEach((other) => other.classList.remove("found"));
    row.classList.add("found");
    row.scrollIntoView({ block: "center" });
  };

  draw();
})();
