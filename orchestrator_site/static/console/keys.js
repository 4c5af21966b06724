// Keys, the overlay they open, lists that J and K go along, and the panel beside a list. What a key does is in the
// page: data-key names it, a link is followed, data-press is pressed, all else gets the focus.
(() => {
  "use strict";
  const ROW = "[data-rows] > li,.cards > tbody > tr", ROOM = matchMedia("(min-width: 1081px)"), PATIENCE = 1500;
  const find = (selector) => document.querySelector(selector);
  const panel = find("#peek");
  const isPlain = (event) => !(event.ctrlKey || event.metaKey || event.altKey || event.button);
  const isTyping = ({ target }) => target.closest("input:not([type=radio],[type=checkbox]),textarea,select");
  let begun = "", forget;

  function press(name) {
    const there = (name === "/" && find("[data-search]")) || find('[data-key="' + CSS.escape(name) + '"]');
    if (there) there.matches("a,[data-press]") ? there.click() : there.focus();
    return there;
  }

  document.addEventListener("keydown", (event) => {
    const key = (event.key || "").toLowerCase(), first = begun;
    begun = "";
    if (event.target.matches("[role=combobox]") && choose(event)) return event.preventDefault();
    if (find("dialog[open]") || document.documentElement.dataset.keys === "off") return;
    if (key === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) return press("find") && event.preventDefault();
    if (!isPlain(event) || isTyping(event)) return;
    const act = { j: () => move(1), k: () => move(-1), escape: () => shown && close() }[first ? "" : key];
    if (act ? act() : press(first + key)) event.preventDefault();
    begun = !first && key === "g" ? "g " : "";
    clearTimeout(forget);
    forget = setTimeout(() => { begun = ""; }, PATIENCE);
  });

  // --- lists
  function move(step) {
    const all = [...document.querySelectorAll(ROW)].filter((row) => row.querySelector("a[href]"));
    const at = [(row) => row.contains(document.activeElement), (row) => row.matches("[aria-current],:has([aria-current])")].map((test) => all.findIndex(test)).find((at) => at >= 0);
    const row = all[at === undefined ? 0 : at + step], link = row?.querySelector("a[data-peek]") || row?.querySelector("a[href]");
    link?.focus();
    if (link && (shown || row.closest("[data-rows=open]"))) link.click();
    return link;
  }

  // --- the panel: its address is the list's with ?peek=
  let shown = "";
  const asked = () => new URL(location).searchParams.get("peek") || "";

  function show(id) {
    shown = id;
    document.querySelectorAll("tr[aria-current]").forEach((row) => row.removeAttribute("aria-current"));
    find('[data-peek="' + CSS.escape(id) + '"]')?.closest("tr").setAttribute("aria-current", "true");
    const url = new URL(location), was = asked();
    if (id) url.searchParams.set("peek", id);
    else url.searchParams.delete("peek");
    if (was !== id) history[was ? "replaceState" : "pushState"](null, "", url);
    if (id) window.htmx.ajax("GET", panel.dataset.base + encodeURIComponent(id) + "/", { source: panel, target: panel });
    else panel.hidden = true;
  }

  function close() {
    const link = find("tr[aria-current] [data-peek]");
    show("");
    link?.focus();
    return true;
  }

  if (panel) {
    document.addEventListener("htmx:afterSwap", ({ detail }) => { if (detail.target === panel) panel.hidden = !shown; });
    document.addEventListener("htmx:pushedIntoHistory", () => { if (shown) show(""); });
    addEventListener("popstate", () => { if (asked() !== shown) location.reload(); });
    if (asked() && ROOM.matches) show(asked());
    else if (asked()) location.replace(panel.dataset.base + encodeURIComponent(asked()) + "/");
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-peek],[data-overlay],[data-close]");
    if (!link || !isPlain(event) || event.shiftKey) return;
    const { peek } = link.dataset;
    if (peek && (!panel || !ROOM.matches || peek === shown)) return; // the link of the one that is shown leads to its page
    event.preventDefault();
    if (peek) show(peek);
    else if (link.dataset.overlay) open(link);
    else close();
  });

  // --- the overlay: help, and finding
  async function open(link) {
    const overlay = find("#" + link.dataset.overlay), field = overlay.querySelector("[role=combobox]");
    if (!field) await window.htmx.ajax("GET", link.href, { source: overlay, target: overlay });
    if (!overlay.firstElementChild) return location.assign(link.href);
    if (!overlay.open) overlay.showModal();
    if (!field) return;
    field.select();
    window.htmx.trigger(field.form, "input");
  }

  const options = () => [...document.querySelectorAll("#found [role=option]")];

  function mark(option) {
    options().forEach((each) => each.setAttribute("aria-selected", String(each === option)));
    find("[role=combobox]")?.setAttribute("aria-activedescendant", option?.id || "");
    option?.scrollIntoView({ block: "nearest" });
  }

  function choose({ key }) {
    const all = options(), at = all.findIndex((option) => option.getAttribute("aria-selected") === "true"), last = all.length - 1;
    const to = { ArrowDown: at < last ? at + 1 : 0, ArrowUp: at > 0 ? at - 1 : last }[key];
    if (to !== undefined) mark(all[to]);
    if (key !== "Enter") return to !== undefined;
    all[at]?.click(); // with none chosen, what was found has a page
    return at >= 0;
  }

  document.addEventListener("input", ({ target }) => { if (target.matches("[role=combobox]")) mark(); });
  document.addEventListener("htmx:afterSettle", ({ target }) => { if (target.id === "found") mark(options()[0]); });
  document.querySelectorAll("[data-hint]").forEach((hint) => { hint.hidden = document.documentElement.dataset.keys === "off"; });
})();
