"use strict";
// Unpacks what the page carries packed, and runs the chart library; the page's policy knows its hash.
const unpack = async (id) => {
  if (typeof DecompressionStream !== "function") throw new Error("plots need a browser of 2023 or later");
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};
const charts = unpack("library").then((text) => {
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script);
  return globalThis.Plotly;
});

// Names find their places for a page of usual width; where they would lie on one another, the later ones are left out.
const declutter = (div) => {
  const room = div.getBoundingClientRect(), taken = [];
  for (const name of div.querySelectorAll(".annotation")) {
    name.style.visibility = "";
    const text = name.querySelector(".annotation-text-g");
    if (!text) continue;
    const box = text.getBoundingClientRect();
    const clash = taken.some((o) => box.left < o.right + 2 && o.left < box.right + 2 && box.top < o.bottom && o.top < box.bottom);
    if (clash || box.left < room.left || box.right > room.right || box.top < room.top) name.style.visibility = "hidden";
    else taken.push(box);
  }
};
