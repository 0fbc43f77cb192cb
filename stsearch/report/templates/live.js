// A page of a running study: when the study has changed, sentences, sections and plots are those of the new page.
(() => {
  const page = globalThis.reportPage;
  const renew = async () => {
    const found = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
    // the first network begins the panel, the first line a plot: then the page is another one
    const kept = (document_) => ["panel", "plot-front"].map((id) => Boolean(document_.getElementById(id))).join();
    const sections = (document_) => [...document_.querySelectorAll("details.section")].map((d) => d.id).join();
    if (kept(found) !== kept(document) || sections(found) !== sections(document)) return location.reload();
    for (const place of ["header", "footer", "#front .note"]) {
      const here = document.querySelector(place), there = found.querySelector(place);
      if (here && there) here.innerHTML = there.innerHTML;
    }
    for (const section of document.querySelectorAll("details.section")) {
      const open = [...section.querySelectorAll(".parts > details")].map((d) => d.open);
      section.querySelector(".parts").replaceWith(found.querySelector(`#${section.id} .parts`));
      section.querySelectorAll(".parts > details").forEach((d, n) => { d.open = open[n] ?? false; });
    }
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
