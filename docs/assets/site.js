// Tables that scroll sideways are reached by keys too, and the search has a name.
const reached = () => {
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
    else table.removeAttribute("tabindex");
  }
};
addEventListener("load", reached);
addEventListener("resize", reached);
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
