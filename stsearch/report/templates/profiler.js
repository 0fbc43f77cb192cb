"use strict";
// The part of Google's chart API that the profiler's page calls, drawn by plotly.js, so that nothing is fetched.
(() => {
  const value = (cell) => (cell !== null && typeof cell === "object" && "v" in cell ? cell.v : cell);
  const shown = (cell) => String((cell !== null && typeof cell === "object" && "f" in cell ? cell.f : value(cell)) ?? "");
  const plain = (html) => {
    const page = new DOMParser().parseFromString(String(html ?? "").replaceAll("<br>", "\n"), "text/html");
    return safe(page.body.textContent.trim()).replaceAll("\n", "<br>");
  };
  const safe = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;"); // plotly.js reads some tags
  const brief = (text) => (text.length > 36 ? `${text.slice(0, 35)}…` : text);

  class DataTable {
    columns = [];
    rows = [];
    properties = new Map();
    addColumn(column) { this.columns.push(column); }
    addRow(row) { this.rows.push(row); }
    addRows(rows) { this.rows.push(...rows); }
    setProperty(row, column, name, to) { this.properties.set(`${row} ${column} ${name}`, to); }
    column(at) { return this.rows.map((row) => value(row[at])); }
  }
  const arrayToDataTable = ([heads, ...rows]) => {
    const data = new DataTable();
    heads.forEach((label, at) => data.addColumn({ label, type: typeof value(rows[0]?.[at]) }));
    data.addRows(rows);
    return data;
  };

  // Columns of numbers after the first; one that holds hints belongs to the one before it.
  const seriesOf = (data) => {
    const found = [];
    data.columns.forEach(({ label, role }, at) => {
      if (role === "tooltip") found.at(-1).hints = data.column(at).map(plain);
      else if (at > 0) found.push({ name: label, at, values: data.column(at) });
    });
    return found;
  };
  const hover = ({ hints }) => (hints ? { hovertext: hints, hovertemplate: "%{hovertext}<extra></extra>" } : {});
  const layoutOf = (options) => ({
    height: typeof options.height === "number" ? options.height : undefined,
    title: options.title ? { text: safe(options.title), font: { size: 14 } } : undefined,
    colorway: options.colors,
    margin: { l: 80, r: 30, t: options.title ? 50 : 20, b: 60 },
    legend: { orientation: "h", y: -0.2, traceorder: "normal" },
    xaxis: { title: { text: options.hAxis?.title }, automargin: true },
    yaxis: { title: { text: options.vAxis?.title }, automargin: true },
    font: { family: "Roboto, Helvetica, Arial, sans-serif", size: 12 },
  });

  class Chart {
    constructor(div) { this.div = div; this.listeners = {}; this.selection = []; }
    draw(data, options = {}) {
      const { traces, layout } = this.figure(data, options);
      const drawn = Plotly.newPlot(this.div, traces, { ...layoutOf(options), ...layout }, { displaylogo: false, responsive: true });
      const place = ({ points: [point] }) => ({ row: point.pointNumber ?? point.i, column: point.data?.meta?.at ?? 1 });
      this.div.on("plotly_click", (event) => { this.selection = [place(event)]; this.tell("select"); });
      this.div.on("plotly_hover", (event) => this.tell("onmouseover", place(event)));
      this.div.on("plotly_unhover", (event) => this.tell("onmouseout", place(event)));
      drawn.then(() => this.tell("ready"));
    }
    tell(kind, event) { for (const listener of this.listeners[kind] ?? []) listener(event); }
    getSelection() { return this.selection; }
    setSelection(selection = []) { this.selection = selection; } // pointed at, plotly.js shows its hint by itself
    clearChart() { Plotly.purge(this.div); }
  }

  const pieOf = (data, options) => {
    const names = data.column(0).map(String);
    const slices = {
      type: "pie", hole: options.pieHole, sort: false, direction: "clockwise", textinfo: "percent", textposition: "inside",
      labels: names.map((name, row) => safe(brief(name)) + "\u200b".repeat(row)), // equal ones would become one slice
      values: data.column(1).map(Number), hovertext: names.map(safe), marker: { colors: options.colors },
      hovertemplate: options.tooltip?.text === "percentage" ? "%{hovertext}<br>%{percent}<extra></extra>" : "%{hovertext}<br>%{value:,} (%{percent})<extra></extra>",
    };
    const named = options.legend !== "none";
    slices.domain = { x: [0, named ? 0.55 : 1] };
    const side = { showlegend: named, legend: { orientation: "v", x: 0.6, y: 1 }, margin: { l: 10, r: 10, t: options.title ? 40 : 10, b: 10 } };
    return { traces: [slices], layout: side };
  };
  class PieChart extends Chart { figure = pieOf; }

  const bars = (data, options, barmode) => ({
    traces: seriesOf(data).map((one) => ({ type: "bar", name: safe(one.name), x: data.column(0).map(safe), y: one.values, meta: { at: one.at }, ...hover(one) })),
    layout: { barmode, xaxis: { ...layoutOf(options).xaxis, type: "category" } },
  });
  class ColumnChart extends Chart {
    figure(data, options) { return bars(data, options, options.isStacked ? "stack" : "group"); }
  }
  class SteppedAreaChart extends Chart {
    figure(data, options) {
      const { traces, layout } = bars(data, options, options.isStacked ? "stack" : "overlay");
      const opacity = options.areaOpacity ?? 0.3;
      return { traces: traces.map((one) => ({ ...one, opacity })), layout: { ...layout, bargap: 0.05 } };
    }
  }
  class ComboChart extends Chart {
    figure(data, options) {
      const { traces, layout } = bars(data, options, "group");
      const as = (one, number) => {
        const { type, targetAxisIndex } = options.series?.[number] ?? {};
        return { ...one, ...(type === "line" ? { type: "scatter", mode: "lines+markers" } : {}), yaxis: targetAxisIndex ? "y2" : "y" };
      };
      return { traces: traces.map(as), layout: { ...layout, yaxis2: { overlaying: "y", side: "right", automargin: true } } };
    }
  }

  class LineChart extends Chart {
    figure(data, options) {
      const lines = seriesOf(data).map((one) => ({
        type: "scatter", mode: "lines", name: safe(one.name), x: data.column(0), y: one.values, meta: { at: one.at }, ...hover(one),
      }));
      this.data = data;
      this.marks = lines.length;
      const marks = { type: "scatter", mode: "markers", x: [], y: [], showlegend: false, hoverinfo: "skip", marker: { size: 10, color: "#c00" } };
      const wide = options.explorer ? { dragmode: "zoom", yaxis: { ...layoutOf(options).yaxis, fixedrange: true } } : {};
      return { traces: [...lines, marks], layout: wide };
    }
    setSelection(selection = []) {
      super.setSelection(selection);
      const at = (index) => selection.map(({ row, column }) => value(this.data.rows[row][index ?? column]));
      if (this.div.data) Plotly.restyle(this.div, { x: [at(0)], y: [at()] }, [this.marks]);
    }
    // What the page wants of it: the times at its left and at its right edge.
    getChartLayoutInterface() {
      const [from, to] = this.div.layout.xaxis.range;
      return {
        getChartAreaBoundingBox: () => ({ left: 0, top: 0, width: 1, height: 1 }),
        getHAxisValue: (share) => from + share * (to - from),
      };
    }
  }

  class Timeline extends Chart {
    figure(data, options) {
      const [layer, name, , from, to] = [0, 1, 2, 3, 4].map((at) => data.column(at));
      const spans = {
        type: "bar", orientation: "h", y: layer, base: from, x: to.map((end, row) => end - from[row]), text: name.map(safe), textposition: "inside",
        hovertext: data.column(2).map(plain), hovertemplate: "%{hovertext}<extra></extra>", marker: { color: name.map((text) => `hsl(${[...text].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 360, 7)} 55% 70%)`) },
      };
      return { traces: [spans], layout: { barmode: "overlay", bargap: 0.1, yaxis: { type: "category", autorange: "reversed", visible: false } } };
    }
  }

  class Table {
    constructor(div) { this.div = div; }
    draw(data, options = {}) {
      const order = data.rows.map((_, row) => row), size = options.pageSize ?? order.length;
      const state = { page: 0, by: options.sortColumn ?? -1, up: options.sortAscending ?? true };
      const head = (at) => {
        state.up = state.by === at ? !state.up : true;
        state.by = at;
        state.page = 0;
        show();
      };
      const show = () => {
        if (state.by >= 0) order.sort((a, b) => compare(value(data.rows[a][state.by]), value(data.rows[b][state.by])) * (state.up ? 1 : -1));
        const rows = order.slice(state.page * size, (state.page + 1) * size);
        this.div.replaceChildren(tableOf(data, rows, head), ...pagesOf(order.length, size, state, show));
        this.div.style.cssText = "max-height: 100%; overflow: auto";
      };
      show();
    }
  }
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  const element = (name, text, style) => Object.assign(document.createElement(name), { textContent: text, style });
  const tableOf = (data, rows, head) => {
    const table = element("table", "", "border-collapse: collapse; width: 100%; font: 12px Roboto, Helvetica, Arial, sans-serif");
    const cell = "border: 1px solid #ddd; padding: 4px 8px;";
    const heads = data.columns.map(({ label }, at) => {
      const th = element("th", label, `${cell} text-align: left; cursor: pointer`);
      th.addEventListener("click", () => head(at));
      return th;
    });
    table.createTHead().insertRow().append(...heads);
    const body = table.createTBody();
    for (const row of rows) {
      body.insertRow().append(...data.columns.map(({ type }, at) => {
        const side = type === "number" ? "text-align: right;" : "overflow-wrap: anywhere;";
        return element("td", shown(data.rows[row][at]), `${cell} ${side} ${data.properties.get(`${row} ${at} style`) ?? ""}`);
      }));
    }
    return table;
  };
  const pagesOf = (count, size, state, show) => {
    if (count <= size) return [];
    const last = Math.ceil(count / size) - 1;
    const step = (text, by) => {
      const button = element("button", text, "margin: 4px");
      button.disabled = state.page + by < 0 || state.page + by > last;
      button.addEventListener("click", () => { state.page += by; show(); });
      return button;
    };
    return [step("‹", -1), element("span", `${state.page + 1} / ${last + 1}`, ""), step("›", 1)];
  };

  const addListener = (chart, kind, listener) => (chart.listeners[kind] ??= []).push(listener);
  globalThis.google = {
    charts: { load: async () => undefined },
    visualization: {
      DataTable, arrayToDataTable, events: { addListener },
      ColumnChart, ComboChart, LineChart, PieChart, SteppedAreaChart, Table, Timeline,
    },
  };

  const nameOf = (input) => {
    if (input.type === "number") return "Number of rows";
    if (input.role === "combobox") return "Rows of a page";
    return input.type === "search" ? "Search by name" : input.closest("label")?.textContent || "Choose";
  };
  // What the page leaves without a name or a role, whenever it has made something new.
  const told = () => {
    for (const head of document.querySelectorAll("li.MuiListSubheader-root:not([role])")) head.setAttribute("role", "presentation");
    for (const button of document.querySelectorAll(".MuiDrawer-root .MuiIconButton-root")) button.ariaLabel = "Fold the lists";
    for (const frame of document.querySelectorAll("iframe:not([title])")) frame.title = "Trace viewer";
    for (const step of document.querySelectorAll(".ant-pagination-item-link:not([aria-label])")) step.ariaLabel = step.closest("li")?.title || "More pages";
    for (const input of document.querySelectorAll("main input:not([aria-label])")) input.ariaLabel = nameOf(input);
    for (const list of document.querySelectorAll("main .MuiSelect-root[aria-labelledby]:not([id])")) {
      list.id = `chosen-${list.getAttribute("aria-labelledby")}`;
      list.setAttribute("aria-labelledby", `${list.getAttribute("aria-labelledby")} ${list.id}`);
    }
    for (const thumb of document.querySelectorAll(".MuiSlider-thumb")) {
      thumb.removeAttribute("aria-labelledby");
      thumb.ariaLabel = thumb.dataset.index === "1" ? "To" : "From";
    }
    for (const box of document.querySelectorAll("[role=combobox]")) {
      for (const to of ["aria-controls", "aria-owns", "aria-activedescendant"]) {
        if (box.hasAttribute(to) && !document.getElementById(box.getAttribute(to))) box.removeAttribute(to);
      }
    }
    for (const part of document.querySelectorAll("main .MuiCardContent-root, #app main")) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    }
  };
  new MutationObserver(told).observe(document, { childList: true, subtree: true, attributeFilter: ["aria-owns", "aria-labelledby"] });
  addEventListener("resize", told);
})();
