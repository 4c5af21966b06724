// The part of a page that follows the socket: it is read again when an event of it comes, and every few seconds only
// while the link is away, or for who has none.
(() => {
  "use strict";
  const region = () => document.querySelector("[data-follow]");
  const POLL = 4000, PAUSE = 150, EVERY = 1000;
  let waiting, asked = 0, isLive = false;

  // What a person is typing, has typed or is about to press must not be swapped away under their hands.
  function isBusy() {
    const fields = [...region().querySelectorAll("input:not([type=hidden]),textarea,select")];
    return fields.some((field) => field === document.activeElement || field.value !== field.defaultValue || field.checked !== field.defaultChecked);
  }

  // However much happens, a page asks once a second at most, one at a time (htmx), and a hidden one not at all.
  function look() {
    waiting = null;
    if (!region()) return;
    if (isBusy() || document.hidden) { waiting = setTimeout(look, EVERY); return; }
    asked = Date.now();
    window.htmx.trigger(region(), "refresh");
  }

  const refresh = () => { waiting ||= setTimeout(look, Math.max(PAUSE, asked + EVERY - Date.now())); };
  const refreshOpen = () => { if (region() && !("over" in region().dataset) && !document.hidden) refresh(); };

  // What somebody is reading to answer it is not read again: it only says that it is old.
  document.addEventListener("live:items", ({ detail }) => {
    const { about, read } = document.querySelector("[data-about]")?.dataset || {};
    const isNew = (item) => item.taskId === about && new Date(item.at) > new Date(read);
    if (detail.items.some(isNew)) document.querySelector("[data-stale]").hidden = false;
    refresh();
  });
  document.addEventListener("visibilitychange", () => { if (waiting && !document.hidden) { clearTimeout(waiting); look(); } });
  document.addEventListener("live:gap", refresh);
  document.addEventListener("live:ready", refresh);
  document.addEventListener("live:beat", () => { if ("progress" in (region()?.dataset || {})) refreshOpen(); });
  document.addEventListener("live:state", ({ detail }) => { isLive = detail.name === "live"; });
  setInterval(() => { if (!isLive) refreshOpen(); }, POLL);

  // Which parts a person had opened, and where the focus was, stays; what they began while the answer was on its way, too.
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const old = region(), { activeElement } = document;
    if (!old || detail.target !== old) return;
    if (isBusy()) { detail.shouldSwap = false; refresh(); return; }
    const open = [...old.querySelectorAll("details")].map((fold) => fold.open), had = old.contains(activeElement);
    const isSame = (each) => (activeElement.href ? each.href === activeElement.href : each.isEqualNode(activeElement));
    document.addEventListener("htmx:afterSettle", () => {
      const folds = [...(region()?.querySelectorAll("details") || [])];
      if (folds.length === open.length) folds.forEach((fold, index) => { fold.open = open[index]; });
      if (had) [...(region()?.querySelectorAll(activeElement.tagName) || [])].find(isSame)?.focus({ preventScroll: true });
    }, { once: true });
  });
})();
