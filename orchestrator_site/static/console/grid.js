// The grid of permissions: one tab stop, arrows within it; the cell that the inspector shows is the chosen one.
(() => {
  "use strict";
  const LINK = '[role="grid"] td > a';
  const rows = () => [...document.querySelectorAll('[role="grid"] tr')].map((row) => [...row.querySelectorAll("td > a")]).filter((row) => row.length);

  function rove(to) {
    rows().flat().forEach((link) => { link.tabIndex = link === to ? 0 : -1; });
  }

  function start() {
    rove(document.querySelector('[role="grid"] td[aria-selected] > a') || document.querySelector(LINK));
  }

  document.addEventListener("keydown", (event) => {
    const here = event.target.closest(LINK);
    if (!here || event.altKey || event.metaKey || event.shiftKey) return;
    const table = rows(), y = table.findIndex((row) => row.includes(here)), x = table[y].indexOf(here);
    const last = table.length - 1, end = table[y].length - 1, far = event.ctrlKey;
    const to = {
      ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1], ArrowUp: [y - 1, x], ArrowDown: [y + 1, x],
      Home: [far ? 0 : y, 0], End: [far ? last : y, end],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    table[to[0]]?.[to[1]]?.focus();
  });
  document.addEventListener("focusin", ({ target }) => { if (target.matches(LINK)) rove(target); });
  document.addEventListener("htmx:afterSwap", ({ detail }) => {
    const link = detail.requestConfig?.elt;
    if (!link?.matches(LINK)) return;
    document.querySelectorAll('[role="grid"] td[aria-selected]').forEach((cell) => cell.removeAttribute("aria-selected"));
    link.closest("td").setAttribute("aria-selected", "true");
  });
  document.addEventListener("htmx:historyRestore", start);
  start();
})();
