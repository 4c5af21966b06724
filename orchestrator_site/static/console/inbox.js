// The queue of approvals: J and K go to its next and last request, A and R to the buttons, and it keeps itself current.
(() => {
  "use strict";
  const queue = () => document.getElementById("queue");
  const PAUSE = 300;
  let waiting;

  // To a request is to its page: what A and R reach is always what is shown.
  function move(step) {
    const items = [...document.querySelectorAll("#queue .item")];
    const at = items.findIndex((item) => item.hasAttribute("aria-current"));
    const next = at < 0 ? items[0] : items[at + step];
    if (next) next.click();
  }

  const keys = {
    j: () => move(1),
    k: () => move(-1),
    a: () => document.querySelector('[data-key="a"]')?.focus(),
    r: () => document.querySelector('[data-key="r"]')?.focus(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=radio],[type=checkbox]),textarea,select")) return;
    const act = keys[event.key.toLowerCase()];
    if (act) { event.preventDefault(); act(); }
  });

  // The list is read again; the request that somebody is reading, or answering, is not: it only says that it is old.
  document.addEventListener("live:items", ({ detail }) => {
    const items = detail.items.filter((item) => item.type.startsWith("approval."));
    const { about, read } = document.querySelector("[data-about]")?.dataset || {};
    const isNew = (item) => item.taskId === about && new Date(item.at) > new Date(read);
    if (items.some(isNew)) document.querySelector("[data-stale]").hidden = false;
    if (items.length || detail.skipped) refresh();
  });
  document.addEventListener("live:gap", refresh);

  function refresh() {
    if (!queue()) return;
    waiting ||= setTimeout(() => { waiting = null; window.htmx.trigger(queue(), "refresh"); }, PAUSE);
  }

  document.querySelectorAll("[data-keys]").forEach((hint) => { hint.hidden = false; });
})();
