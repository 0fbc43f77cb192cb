// A page of one figure.
charts.then((Plotly) => {
  const { figure } = JSON.parse(document.getElementById("plots").textContent), div = document.getElementById("plot-figure");
  Plotly.newPlot(div, figure.data, figure.layout, { responsive: true, displaylogo: false });
  div.on("plotly_afterplot", () => declutter(div));
  declutter(div);
}).catch((error) => {
  document.getElementById("plot-figure").textContent = `No plot here: ${error.message}.`;
}).finally(() => { document.documentElement.dataset.ready = "yes"; });
