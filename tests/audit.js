// Accessibility rules over a rendered page, by computed style. Writes what it finds into the DOM.
// Rule names are those of axe-core where it has one. An empty list is a page that passes.
(() => {
  const found = [];
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const where = (e) => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + " " +
    (e.textContent || "").trim().slice(0, 40);
  const check = (rule, ok, e) => { if (!ok) found.push(rule + (e ? ": " + where(e) : "")); };
  const name = (e) => {
    const by = e.getAttribute("aria-labelledby");
    if (by) return by.split(/\s+/).map((id) => document.getElementById(id)?.textContent || "").join(" ").trim();
    return (e.getAttribute("aria-label") || e.getAttribute("alt") || e.textContent || "").trim();
  };

  // the document
  check("document-title", document.title.trim());
  check("html-has-lang", /^[a-z]{2}/.test(document.documentElement.lang));
  const viewport = document.querySelector("meta[name=viewport]")?.content || "";
  check("meta-viewport", viewport.includes("width=device-width") && !/maximum-scale|user-scalable/.test(viewport));
  const ids = all("[id]").map((e) => e.id);
  check("duplicate-id", new Set(ids).size === ids.length);

  // landmarks and headings
  check("landmark-one-main", all("main").length === 1);
  check("page-has-heading-one", all("h1").length === 1);
  let level = 0;
  for (const h of all("h1,h2,h3,h4,h5,h6")) {
    check("empty-heading", name(h), h);
    check("heading-order", Number(h.tagName[1]) <= level + 1, h);
    level = Number(h.tagName[1]);
  }
  const named = all("nav,[role=region],section,[role=navigation]").map((e) => e.tagName + " " + name(e));
  check("landmark-unique", new Set(named).size === named.length);
  for (const e of document.body.children)
    check("region", /^(HEADER|MAIN|NAV|FOOTER|SCRIPT|STYLE)$/.test(e.tagName) || e.className === "skip", e);

  // names
  for (const e of all("img")) check("image-alt", e.hasAttribute("alt") && e.alt.trim(), e);
  for (const e of all("figure")) check("figure-caption", e.querySelector("figcaption")?.textContent.trim(), e);
  for (const e of all("a")) {
    check("link-name", name(e), e);
    const target = e.getAttribute("href") || "";
    check("link-target", !target.startsWith("#") || document.getElementById(target.slice(1)), e);
  }
  for (const e of all("[aria-labelledby]"))
    check("aria-valid-attr-value", e.getAttribute("aria-labelledby").split(/\s+/).every((id) => document.getElementById(id)), e);
  for (const e of all("[role=region],nav")) check("region-name", e.getAttribute("aria-label") || e.getAttribute("aria-labelledby"), e);
  for (const e of all("ul,ol")) check("list", [...e.children].every((c) => c.tagName === "LI"), e);
  for (const e of all("li")) check("listitem", /^(UL|OL)$/.test(e.parentElement.tagName), e);

  // tables
  for (const t of all("table")) {
    check("table-caption", t.caption?.textContent.trim(), t);
    for (const th of all("th", t)) {
      check("empty-table-header", th.textContent.trim(), th);
      check("scope-attr-valid", /^(row|col)$/.test(th.scope), th);
    }
    const width = t.tHead?.rows[0]?.cells.length;
    for (const row of t.tBodies[0]?.rows || []) {
      check("td-headers", row.cells.length === width && row.cells[0].tagName === "TH", row);
    }
  }

  // focus: in reading order, the way past the contents first, and every scrolling box reachable
  const focusable = all("a[href],button,input,select,textarea,[tabindex]");
  for (const e of focusable) check("tabindex", e.tabIndex <= 0, e);
  const skip = focusable[0];
  check("bypass", skip && skip.getAttribute("href") === "#" + document.querySelector("main")?.id);
  for (const e of all("*")) {
    if (/auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1)
      check("scrollable-region-focusable", e.tabIndex === 0, e);
  }
  check("reflow", document.documentElement.scrollWidth <= window.innerWidth);

  // contrast of every text with the background behind it
  const rgb = (text) => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const luminance = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(e) || /SCRIPT|STYLE/.test(e.tagName)) continue;
    seen.add(e);
    const style = getComputedStyle(e);
    const [a, b] = [luminance(rgb(style.color)), luminance(behind(e))];
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const wanted = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    check("color-contrast", (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) >= wanted, e);
  }

  check("no-network", performance.getEntriesByType("resource").every((r) => r.name.startsWith("data:")));
  const out = document.createElement("pre");
  out.id = "audit";
  out.textContent = JSON.stringify({ found, texts: seen.size, width: window.innerWidth });
  document.body.append(out);
})();
