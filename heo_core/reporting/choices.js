"use strict";
(() => {
  for (const select of document.querySelectorAll("[data-choices]")) {
    const plot = document.querySelector(`[data-figure="${CSS.escape(select.dataset.choices)}"]`);
    const choices = JSON.parse(document.getElementById("choices-" + select.dataset.choices).textContent);
    select.selectedIndex = 0; // a browser remembers what was chosen before the page was loaded again
    select.addEventListener("change", () => {
      const [data, layout] = choices[Number(select.value)];
      if (plot.data) Plotly.update(plot, data, layout, Object.values(data)[0].map((_, i) => i));
    });
  }
})();
