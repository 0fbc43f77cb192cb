// A page of a running study: when the study has changed, sentences, sections and plots are those of the new page.
(() => {
  const page = globalThis.reportPage;
  const renew = async () => {
    const found = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    // the first network begins the panel, the first line a plot: then the page is another one
    const kept = (document_) => ["panel", "plot-front"].map((id) => Boolean(document_.getElementById(id))).join();
    const sections = () => [...document.querySelectorAll("details.section")];
    if (kept(found) !== kept(document) || !sections().length) return location.reload();
    for (const place of ["header", "footer", "#front .note"]) {
      const here = document.querySelector(place), there = found.querySelector(place);
      if (here && there) here.innerHTML = there.innerHTML;
    }
    const all = sections().every((section) => section.open);
    let last = null;
    for (const there of found.querySelectorAll("details.section")) {
      let here = document.getElementById(there.id);
      if (here) {
        const open = [...here.querySelectorAll(".parts > details")].map((d) => d.open);
        here.querySelector(".parts").replaceWith(there.querySelector(".parts"));
        here.querySelectorAll(".parts > details").forEach((d, n) => { d.open = open[n] ?? false; });
      } else {
        here = document.importNode(there, true);
        here.open = all;
        last ? last.after(here) : sections()[0].before(here);
      }
      last = here;
    }
    for (const here of sections()) if (!found.getElementById(here.id)) here.remove();
    for (const id of ["networks", "plots", "drawings"]) {
      document.getElementById(id).textContent = found.getElementById(id).textContent;
    }
    document.documentElement.dataset.stamp = found.documentElement.dataset.stamp;
    await page.renewed();
  };
  const look = async () => {
    try {
      const { stamp } = await (await fetch("/stamp")).json();
      if (stamp !== document.documentElement.dataset.stamp) await renew();
      delete document.documentElement.dataset.away;
    } catch {
      document.documentElement.dataset.away = "yes"; // the dashboard was closed, or comes back
    }
    setTimeout(look, 5000);
  };
  setTimeout(look, 5000);
})();
