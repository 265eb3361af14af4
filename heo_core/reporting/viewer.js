"use strict";
(() => {
  const STACKED_BELOW = 560; // px: narrower than this, views stand one below the other
  const EDGE = 0.05; // an atom this close to a face of the cell is drawn on the opposite face too
  const REACH = 1.25; // a cation is bonded to oxygens up to this many times as far as its nearest one
  const NOT_METALS = new Set(["O", "F", "S", "N", "Cl", "H"]);

  const hasWebGL = () => {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  };

  const toCartesian = (lattice, [a, b, c]) => [0, 1, 2].map((k) => a * lattice[0][k] + b * lattice[1][k] + c * lattice[2][k]);

  // Every atom inside the cell, and again on each face that it lies on, so that the cell looks closed. Where it counts
  // as lying is asked of the first drawing of the scene: the same atoms stand in all of them.
  const placeAtoms = (drawing, first) => {
    const atoms = [];
    drawing.species.forEach((place, i) => {
      let shifts = [[]];
      for (let k = 0; k < 3; k++) {
        const x = first.positions[3 * i + k];
        const inside = x - Math.floor(x);
        const shift = -Math.floor(x) - (inside > 1 - EDGE ? 1 : 0);
        const isOnFace = inside < EDGE || inside > 1 - EDGE;
        shifts = shifts.flatMap((image) => (isOnFace ? [shift, shift + 1] : [shift]).map((value) => [...image, value]));
      }
      for (const image of shifts) {
        const fractional = image.map((value, k) => value + drawing.positions[3 * i + k]);
        const [x, y, z] = toCartesian(drawing.lattice, fractional);
        atoms.push({ elem: drawing.symbols[place], x, y, z, fractional, serial: atoms.length, index: atoms.length, bonds: [], bondOrder: [] });
      }
    });
    return atoms;
  };

  const joinAtoms = (atoms) => {
    const anions = atoms.filter((atom) => NOT_METALS.has(atom.elem));
    for (const cation of atoms) {
      if (NOT_METALS.has(cation.elem)) continue;
      const lengths = anions.map((anion) => Math.hypot(anion.x - cation.x, anion.y - cation.y, anion.z - cation.z));
      const longest = Math.min(2.9, REACH * Math.min(...lengths));
      anions.forEach((anion, i) => {
        if (lengths[i] > longest) return;
        cation.bonds.push(anion.index);
        cation.bondOrder.push(1);
        anion.bonds.push(cation.index);
        anion.bondOrder.push(1);
      });
    }
  };

  const toColour = (symbol) => {
    const colours = $3Dmol.elementColors.Jmol;
    return "#" + (Object.hasOwn(colours, symbol) ? colours[symbol] : 0x999999).toString(16).padStart(6, "0");
  };
  const toRadius = (symbol) => (NOT_METALS.has(symbol) ? 0.36 : 0.5);

  const drawCell = (view, lattice) => {
    const point = (corner) => {
      const [x, y, z] = toCartesian(lattice, corner);
      return { x, y, z };
    };
    for (const start of [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) {
      for (let k = 0; k < 3; k++) {
        const end = start.map((value, i) => (i === k ? 1 - value : value));
        view.addLine({ start: point(start), end: point(end), color: "#5a646e" });
      }
    }
  };

  const setUp = (figure) => {
    const stage = figure.querySelector(".stage");
    const select = figure.querySelector("select");
    const output = figure.querySelector("output");
    const scenes = JSON.parse(document.getElementById("scenes-" + figure.dataset.viewer).textContent);
    const n = Math.max(...scenes.map((views) => views.length));
    let views = [];
    let shape = { rows: 1, cols: n };
    select.selectedIndex = 0; // a browser remembers what was chosen before the page was loaded again

    const describe = (atom) => {
      output.textContent = `${atom.elem} at ${atom.fractional.map((x) => x.toFixed(3)).join(", ")}`;
    };

    const draw = () => {
      const scene = scenes[Number(select.value)];
      figure.querySelectorAll(".scene").forEach((part) => { part.hidden = part.dataset.scene !== select.value; });
      output.textContent = "";
      nameViews();
      const symbols = new Set();
      const first = scene.find((drawing) => drawing);
      views.forEach((view, i) => {
        view.removeAllModels();
        view.removeAllShapes();
        const drawing = scene[i];
        if (drawing) {
          const atoms = placeAtoms(drawing, first);
          joinAtoms(atoms);
          const model = view.addModel();
          model.addAtoms(atoms);
          for (const symbol of drawing.symbols) {
            symbols.add(symbol);
            view.setStyle({ elem: symbol }, {
              sphere: { radius: toRadius(symbol), color: toColour(symbol) },
              stick: { radius: 0.09, color: toColour(symbol) },
            });
          }
          view.setClickable({}, true, describe);
          view.setHoverable({}, true, describe, () => { output.textContent = ""; });
          drawCell(view, drawing.lattice);
        }
      });
      figure.querySelector(".elements").replaceChildren(...[...symbols].sort().map((symbol) => {
        const item = document.createElement("span");
        const chip = document.createElement("i");
        chip.className = "chip";
        chip.style.background = toColour(symbol);
        item.append(chip, symbol);
        return item;
      }));
      reset();
      figure.dataset.drawn = select.value;
    };

    // The words below, again in the picture, which says what is what.
    const nameViews = () => {
      stage.querySelectorAll("span").forEach((name) => name.remove());
      if (n === 1) return;
      figure.querySelectorAll(".scene:not([hidden]) .view p b").forEach((title, i) => {
        const name = document.createElement("span");
        name.textContent = title.textContent;
        name.style.left = `${shape.cols > 1 ? (100 * i) / n : 0}%`;
        name.style.top = `${shape.rows > 1 ? (100 * i) / n : 0}%`;
        stage.append(name);
      });
    };

    const reset = () => {
      views.forEach((view) => {
        view.setView([0, 0, 0, 0, 0, 0, 0, 1]);
        view.rotate(-78, "x");
        view.rotate(-24, "y");
        view.rotate(6, "x");
        view.zoomTo();
        // What zoomTo fits is twice as wide as the structure, and it knows nothing of the height.
        view.zoom(1.9 * Math.min(1, (stage.clientHeight / shape.rows) / (stage.clientWidth / shape.cols)));
        view.render();
      });
    };
    const each = (act) => views.forEach((view) => { act(view); view.render(); });

    // Views of whole pixels: between others a line of nothing would show.
    const fitWidth = () => {
      stage.style.width = "";
      stage.style.width = `${Math.floor(stage.clientWidth / shape.cols) * shape.cols}px`;
    };
    window.addEventListener("resize", () => { if (views.length) fitWidth(); }); // 3Dmol watches the stage itself

    const start = () => {
      const isStacked = n > 1 && stage.clientWidth < STACKED_BELOW;
      stage.classList.toggle("stacked", isStacked);
      stage.style.setProperty("--views", n);
      if (isStacked) shape = { rows: n, cols: 1 };
      fitWidth();
      views = $3Dmol.createViewerGrid(stage, { ...shape, control_all: true }, {
        backgroundColor: "white", antialias: true, disableFog: true, orthographic: true,
      }).flat();
      draw();
    };

    select.addEventListener("change", draw);
    figure.querySelector(".turn").addEventListener("click", (event) => {
      const act = event.target.dataset.do;
      if (act === "reset") reset();
      if (act === "in" || act === "out") each((view) => view.zoom(act === "in" ? 1.25 : 0.8));
    });
    stage.addEventListener("keydown", (event) => {
      const turns = { ArrowLeft: [-15, "y"], ArrowRight: [15, "y"], ArrowUp: [-15, "x"], ArrowDown: [15, "x"] };
      const turn = turns[event.key];
      if (!turn) return;
      event.preventDefault();
      each((view) => view.rotate(...turn));
    });
    // The wheel scrolls the page; with Ctrl, as in maps, it zooms.
    stage.addEventListener("wheel", (event) => { if (!event.ctrlKey) event.stopImmediatePropagation(); }, { capture: true });
    return start;
  };

  const figures = [...document.querySelectorAll(".viewer")];
  const canDraw = figures.length > 0 && hasWebGL();
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      starts.get(entry.target)();
    }
  }, { rootMargin: "300px" });
  const starts = new Map();
  for (const figure of figures) {
    if (canDraw) {
      starts.set(figure, setUp(figure));
      observer.observe(figure);
      continue;
    }
    figure.querySelector(".nowebgl").hidden = false;
    figure.querySelectorAll(".stage, .turn, .atoms").forEach((part) => { part.hidden = true; });
    const select = figure.querySelector("select");
    select.addEventListener("change", () => {
      figure.querySelectorAll(".scene").forEach((part) => { part.hidden = part.dataset.scene !== select.value; });
    });
  }
})();
