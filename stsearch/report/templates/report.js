// The page works without this script but for the plots: it draws them, sorts tables and shows networks.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  let data = read("networks"), plots = read("plots");
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const divs = new Map();

  // In the dark greys are turned around, but not on paper. Colours stay, as they mean kinds, but for one that is dark.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let printing = false;
  const turned = (value) => {
    if (Array.isArray(value)) return value.map(turned);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, of]) => [key, turned(of)]));
    if (value === "#0072B2") return "#56a9dd";
    const [found, hex, level, alpha] = /^(?:#([0-9a-f]{2})\1\1|rgba\((\d+), \2, \2, ([\d.]+)\))$/i.exec(value) ?? [];
    if (!found) return value;
    const was = hex ? parseInt(hex, 16) : Number(level), is = 232 - Math.round(0.8 * was);
    return `rgba(${was === 255 ? "30, 36, 41" : [is, is, is].join(", ")}, ${alpha ?? 1})`;
  };
  const toned = (name) => (dark.matches && !printing ? turned(plots[name]) : plots[name]);
  const redraw = () => {
    for (const [name, div] of divs) {
      const { data: traces, layout } = toned(name);
      Plotly.react(div, traces, layout, config);
    }
    if (shown) ring(shown);
  };
  dark.addEventListener("change", redraw);

  // A plot is drawn when it is first seen: in a closed section its names have no size, so none would be left out.
  const draw = (Plotly, div, sized) => {
    const name = div.id.slice(5);
    if (divs.has(name)) declutter(div);
    if (!plots[name] || divs.has(name)) return;
    const figure = toned(name);
    divs.set(name, div);
    Plotly.newPlot(div, figure.data, sized ? { ...figure.layout, width: 680, autosize: false } : figure.layout, config);
    div.on("plotly_afterplot", () => declutter(div));
    declutter(div);
    if (name === "front") follow(div);
  };
  const drawn = () => charts.then((Plotly) => {
    for (const div of document.querySelectorAll(".plot")) if (!div.closest("details:not([open])")) draw(Plotly, div);
  });

  // Drawings are unpacked when the first is asked for.
  const live = document.documentElement.dataset.stamp !== undefined;
  let unpacked = null;
  const drawings = () => unpacked ??= unpack("drawings").then(JSON.parse);

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
    const front = divs.get("front");
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
  const curve = (id) => document.querySelector(`[data-curves="${CSS.escape(id)}"] svg`)?.cloneNode(true);
  const show = async (id) => {
    if (!panel || shown === id || !data.networks[id]) return;
    shown = id;
    const [name, trial, place, ...figures] = data.networks[id];
    const about = element("div"), list = element("dl", undefined, { class: "pairs" });
    const pairs = [["", ""], ...data.heads.map((title, number) => [title, figures[number]])];
    pairs[0] = trial === null ? ["reference", "outside the space"] : ["trial", trial];
    for (const [title, text] of [...pairs, ["place", place]]) list.append(element("dt", title), element("dd", text));
    about.append(element("h2", name), ...(data.unplaced.includes(id) ? [] : [strip(id)]), list);
    const picture = element("div", undefined, { class: "drawing" });
    const steps = element("p", undefined, { class: "steps screen" });
    for (const [text, step] of [["\u2190 cheaper", -1], ["dearer \u2192", 1]]) {
      const next = neighbour(id, step), button = element("button", text, { type: "button" });
      button.disabled = !next;
      button.addEventListener("click", () => pin(next));
      steps.append(button);
    }
    about.append(steps);
    const held = panel.contains(document.activeElement) ? document.activeElement.textContent : "";
    panel.replaceChildren(about, picture);
    const again = [...steps.children].find((button) => held && button.textContent === held);
    if (again) (again.disabled ? [...steps.children].find((button) => !button.disabled) ?? again : again).focus();
    panel.dataset.network = id;
    for (const row of document.querySelectorAll("tr[data-network]")) row.classList.toggle("chosen", row.dataset.network === id);
    ring(id);
    if (live && trial !== null) {
      const link = element("a", "this trial in optuna-dashboard", { href: "/trial/" + trial });
      about.append(element("p"));
      about.lastChild.append(link);
    }
    const svg = typeof DecompressionStream === "function" ? (await drawings())[id] : undefined;
    if (shown !== id) return;
    if (live && trial !== null && (!svg || !curve(id))) {  // not all are on the page
      const answer = await fetch("/network?" + new URLSearchParams({ id }));
      if (shown === id && answer.ok) picture.innerHTML = await answer.text();
      if (picture.childElementCount || shown !== id) return;
    }
    if (svg) picture.innerHTML = svg;
    else picture.append(element("p", "No drawing of this network is on the page; its placement is above.", { class: "note" }));
    const learnt = curve(id);
    if (learnt) picture.append(learnt);
  };
  const pin = (id) => { pinned = id; show(id); };
  // Networks of the plot by cost, for those who go from one to the next by keys.
  const neighbour = (id, step) => {
    const points = (plots.front?.data ?? []).flatMap((t) => (t.customdata ?? []).map((key, n) => [t.x[n], t.y[n], key]));
    const order = [...new Map(points.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((p) => [p[2], p])).keys()];
    const at = order.indexOf(id);
    return at < 0 ? undefined : order[at + step];
  };
  const follow = (front) => {
    front.on("plotly_hover", (event) => show(event.points[0].customdata));
    front.on("plotly_unhover", () => pinned && show(pinned));
    front.on("plotly_click", (event) => pin(event.points[0].customdata));
    ring(panel.dataset.network);
  };

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
  const sort = (head) => {
    const table = head.closest("table"), body = table.tBodies[0], down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map((row) => [value(row, head.cellIndex), row]);
    const missing = (v) => typeof v === "number" && Number.isNaN(v);
    rows.sort(([a], [b]) => (down && !missing(a) && !missing(b) ? -compare(a, b) : compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  };
  document.addEventListener("click", (event) => {
    const head = event.target.closest("th[aria-sort] button");
    if (head) sort(head.closest("th"));
    const name = event.target.closest("button.show");
    if (name) pin(name.closest("tr").dataset.network);
  });

  // Sections: an address with a section's name opens it; one button opens all.
  const all = document.getElementById("all");
  const folds = () => [...document.querySelectorAll("details.section")];
  const label = () => { all.textContent = folds().every((d) => d.open) ? "Close all" : "Open all"; };
  all.hidden = false;
  all.addEventListener("click", () => {
    const open = !folds().every((d) => d.open);
    for (const details of folds()) details.open = open;
  });
  document.addEventListener("toggle", () => { label(); drawn(); }, true);
  const go = () => {
    const asked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (asked instanceof HTMLDetailsElement) { asked.open = true; asked.scrollIntoView(); }
  };
  addEventListener("hashchange", go);

  // Paper: everything open, plots as wide as the page.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
    if (!globalThis.Plotly) return;
    printing = true;
    if (dark.matches) redraw();
    for (const div of divs.values()) Plotly.relayout(div, { width: 680, autosize: false });
    for (const div of document.querySelectorAll(".plot")) draw(Plotly, div, true);
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
    printing = false;
    for (const [name, div] of [...divs]) {  // what is closed again is drawn when it is seen
      if (!div.closest("details:not([open])")) continue;
      Plotly.purge(div);
      divs.delete(name);
    }
    if (dark.matches) redraw();
    for (const div of divs.values()) Plotly.relayout(div, { width: null, autosize: true });
  });

  // For a page that renews itself: everything that was read off it is read again.
  globalThis.reportPage = {
    renewed: async () => {
      data = read("networks");
      plots = read("plots");
      unpacked = null;
      for (const [name, div] of [...divs]) {
        const figure = plots[name] && toned(name);
        if (div.isConnected && figure) Plotly.react(div, figure.data, figure.layout, config);
        else divs.delete(name);
      }
      const id = shown;
      shown = null;
      await drawn();
      await show(data.networks[id] ? id : document.querySelector("tr[data-network]")?.dataset.network);
      document.documentElement.dataset.renewed = document.documentElement.dataset.stamp;
    },
  };

  if (panel) show(panel.dataset.network);
  drawn().then(go, (error) => {
    for (const div of document.querySelectorAll(".plot")) div.textContent = `No plot here: ${error.message}.`;
  }).finally(() => { document.documentElement.dataset.ready = "yes"; });
})();
