"use strict";
// The page works without this script but for the plots: it draws them, sorts tables and shows networks.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("networks"), plots = read("plots");
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const narrow = 560;
  const divs = new Map();
  for (const [name, figure] of Object.entries(plots)) {
    const div = document.getElementById("plot-" + name);
    if (!div) continue;
    Plotly.newPlot(div, figure.data, figure.layout, config);
    divs.set(name, div);
  }

  // Names beside points have room on wide pages only.
  const front = divs.get("front");
  const named = new Map(["front", "paper"].filter((name) => divs.has(name)).map((name) => [name, true]));
  const names = (name, width) => {
    if (named.get(name) === (width >= narrow)) return;
    named.set(name, width >= narrow);
    const annotations = plots[name].layout.annotations || [];
    Plotly.relayout(divs.get(name), {
      annotations: width >= narrow ? annotations : annotations.filter((a) => a.showarrow === false),
      "xaxis.title.font.size": width >= narrow ? 13 : 11,
    });
  };
  const fit = () => named.forEach((_, name) => names(name, divs.get(name).clientWidth));
  addEventListener("resize", fit);
  fit();

  // Drawings are unpacked when the first is asked for.
  let unpacked = null;
  const drawings = () => {
    unpacked ??= (async () => {
      const bytes = Uint8Array.from(atob(document.getElementById("drawings").textContent.trim()), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      return JSON.parse(await new Response(stream).text());
    })();
    return unpacked;
  };

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const strip = (id) => {
    const made = element("span", undefined, { class: "strip" });
    id.split("@")[0].split("-").forEach((group, number) => {
      const kinds = new Set(group.split(".").map((run) => run.replace(/[x*]\d+$/, "")));
      const [label, fill, ink] = kinds.size > 1 ? ["mix", "#e4e4e4", "#000000"] : data.kinds[[...kinds][0]];
      const cell = element("span", label, { title: data.groups[number] + ": " + group });
      cell.style.background = fill;
      cell.style.color = ink;
      made.append(cell);
    });
    return made;
  };

  const panel = document.getElementById("panel");
  let shown = null, pinned = null;
  const ring = (id) => {
    if (!front) return;
    const last = front.data.length - 1;
    for (const trace of front.data.slice(0, last)) {
      const at = trace.customdata ? trace.customdata.indexOf(id) : -1;
      if (at >= 0) {
        Plotly.restyle(front, { x: [[trace.x[at]]], y: [[trace.y[at]]] }, [last]);
        return;
      }
    }
  };
  const show = async (id) => {
    if (!panel || shown === id || !data.networks[id]) return;
    shown = id;
    const [name, trial, place, ...figures] = data.networks[id];
    const about = element("div"), list = element("dl", undefined, { class: "pairs" });
    const pairs = [["", ""], ...data.heads.map((title, number) => [title, figures[number]])];
    pairs[0] = trial === null ? ["reference", "outside the space"] : ["trial", trial];
    for (const [title, text] of [...pairs, ["place", place]]) list.append(element("dt", title), element("dd", text));
    about.append(element("h3", name), element("p", id, { class: "id" }), strip(id), list);
    const picture = element("div", undefined, { class: "drawing" });
    panel.replaceChildren(about, picture);
    panel.dataset.network = id;
    for (const row of document.querySelectorAll("tr[data-network]")) row.classList.toggle("chosen", row.dataset.network === id);
    ring(id);
    const svg = typeof DecompressionStream === "function" ? (await drawings())[id] : undefined;
    if (shown !== id) return;
    if (svg) picture.innerHTML = svg;
    else picture.append(element("p", "No drawing of this network is on the page; its placement is above.", { class: "note" }));
  };
  const pin = (id) => { pinned = id; show(id); };
  if (panel) ring(panel.dataset.network);
  if (front) {
    front.on("plotly_hover", (event) => show(event.points[0].customdata));
    front.on("plotly_unhover", () => pinned && show(pinned));
    front.on("plotly_click", (event) => pin(event.points[0].customdata));
  }
  for (const button of document.querySelectorAll("button.show")) {
    button.addEventListener("click", () => pin(button.closest("tr").dataset.network));
  }

  // Tables: a click on a head sorts, a second one turns the order.
  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value || NaN) : cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (typeof a === "string") return a.localeCompare(b, "en", { numeric: true });
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return a - b;
  };
  for (const head of document.querySelectorAll("th[aria-sort]")) {
    head.querySelector("button").addEventListener("click", () => {
      const table = head.closest("table"), body = table.tBodies[0], down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [value(row, head.cellIndex), row]);
      const missing = (v) => typeof v === "number" && Number.isNaN(v);
      rows.sort(([a], [b]) => (down && !missing(a) && !missing(b) ? -compare(a, b) : compare(a, b)));
      body.append(...rows.map(([, row]) => row));
    });
  }

  // Paper: everything open, plots as wide as the page.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
    for (const div of divs.values()) Plotly.relayout(div, { width: 680, autosize: false });
    named.forEach((_, name) => names(name, 680));
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
    for (const div of divs.values()) Plotly.relayout(div, { width: null, autosize: true });
    fit();
  });
  document.documentElement.dataset.ready = "yes";
})();
