// The audit trail: J and K go along its entries; an entry opens beside the list where there is room, else on its page.
(() => {
  "use strict";
  const ROOM = matchMedia("(min-width: 1081px)");
  const links = () => [...document.querySelectorAll("[data-entry]")];
  const panel = document.getElementById("entry");

  function mark(link) {
    document.querySelectorAll("tr[aria-current]").forEach((row) => row.removeAttribute("aria-current"));
    if (link) link.closest("tr").setAttribute("aria-current", "true");
  }

  function move(step) {
    const all = links(), at = all.findIndex((link) => link.closest("tr").hasAttribute("aria-current"));
    const next = at < 0 ? all[0] : all[at + step];
    if (!next) return;
    next.focus();
    if (ROOM.matches) next.click();
    else mark(next);
  }

  document.addEventListener("htmx:beforeRequest", (event) => {
    const link = event.detail.elt;
    if (event.detail.target !== panel) return;
    if (!ROOM.matches) { event.preventDefault(); location.assign(link.href); return; }
    if (link.matches("[data-entry]")) mark(link);
  });
  document.addEventListener("htmx:afterSwap", (event) => { if (event.detail.target === panel) panel.hidden = false; });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]),textarea,select")) return;
    const step = { j: 1, k: -1 }[event.key.toLowerCase()];
    if (step) { event.preventDefault(); move(step); }
  });
  document.querySelectorAll("[data-keys]").forEach((hint) => { hint.hidden = false; });
})();
