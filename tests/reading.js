// What of a page cannot be read, seen or reached by some, as sentences: names, contrast (WCAG 2.2, AA), keys, width.
() => {
  const faults = [], shown = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && e.getClientRects().length;
  const say = (what, e) => faults.push(`${what}: ${e.outerHTML.slice(0, 120)}`);
  const named = (e) => (e.textContent + (e.getAttribute("aria-label") ?? "") + (e.title || "") + (e.querySelector("img")?.alt ?? "")
    + (e.getAttribute("aria-labelledby") ?? "") + [...(e.labels ?? [])].map((l) => l.textContent).join("")).trim();
  if (!document.documentElement.lang) faults.push("the page has no language");
  if (!document.title.trim()) faults.push("the page has no title");
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`the page is ${document.documentElement.scrollWidth} pixels wide`);
  for (const e of document.querySelectorAll("button, a[href], [role=button], [role=dialog], input:not([type=hidden]), select, textarea, [role=img], summary")) {
    const needed = e.getAttribute("role") === "dialog" ? !e.ariaLabel && !e.getAttribute("aria-labelledby") : !named(e);
    if (shown(e) && needed && !e.closest("[aria-hidden=true]")) say("no name", e);
  }
  for (const e of document.querySelectorAll("img:not([alt])")) say("no alternative", e);
  for (const e of document.querySelectorAll("li:not([role])")) if (!/^(UL|OL|MENU)$/.test(e.parentElement.tagName)) say("outside a list", e);
  for (const e of document.querySelectorAll("body *")) {
    const { overflowX, overflowY } = getComputedStyle(e), moves = (how) => how === "auto" || how === "scroll";
    const more = (moves(overflowX) && e.scrollWidth > e.clientWidth + 1) || (moves(overflowY) && e.scrollHeight > e.clientHeight + 1);
    if (more && shown(e) && e.tabIndex < 0 && !e.querySelector("a[href], button, input, [tabindex='0']")) say("scrolls by a pointer alone", e);
  }
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((part, at) => a * part + (1 - a) * below[at]);
  const linear = (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const contrast = (a, b) => (Math.max(luminance(a), luminance(b)) + 0.05) / (Math.min(luminance(a), luminance(b)) + 0.05);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches && /dark/.test(getComputedStyle(document.documentElement).colorScheme);
  const colours = (e) => {
    const line = [];
    for (let at = e; at; at = at.parentElement) line.unshift(at);
    let back = dark ? [18, 18, 18] : [255, 255, 255], seen = 1;
    for (const at of line) {
      const style = getComputedStyle(at);
      if (style.backgroundImage.startsWith("url")) return null;
      seen *= Number(style.opacity);
      const [r, g, b, a] = rgba(style.backgroundColor);
      back = over([r, g, b, a * seen], back);
    }
    const [r, g, b, a] = rgba(getComputedStyle(e).color);
    return [over([r, g, b, a * seen], back), back];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), asked = new Set();
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (asked.has(e) || !walker.currentNode.data.trim() || e.closest("svg, script, style, noscript, :disabled, [aria-hidden=true]") || !shown(e)) continue;
    asked.add(e);
    const found = colours(e), { fontSize, fontWeight } = getComputedStyle(e);
    if (!found) continue;
    const large = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && fontWeight >= 700), level = contrast(...found);
    if (level < (large ? 3 : 4.5) - 0.005) say(`contrast ${level.toFixed(2)}`, e);
    const block = e.closest("p, li, td"), link = e.closest("a[href]");
    const among = link && block && [...block.childNodes].some((n) => n.nodeType === 3 && /\w\w/.test(n.data));
    if (among && !/underline/.test(getComputedStyle(link).textDecorationLine) && contrast(found[0], colours(block)[0]) < 3) say("a link by its colour alone", link);
  }
  return faults;
}
