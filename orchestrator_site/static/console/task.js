// The task page: its live part is read again when an event of this task comes, and every few seconds while it goes on.
(() => {
  "use strict";
  const region = () => document.getElementById("task-live");
  const POLL = 4000, PAUSE = 150;
  let waiting;

  // What a person is typing, has typed or is about to press must not be swapped away under their hands.
  function isBusy() {
    const fields = [...region().querySelectorAll("input:not([type=hidden]),textarea,select")];
    return fields.some((field) => field === document.activeElement || field.value !== field.defaultValue || field.checked !== field.defaultChecked);
  }

  function refresh() {
    waiting ||= setTimeout(() => {
      waiting = null;
      if (isBusy()) { setTimeout(refresh, POLL); return; }
      window.htmx.trigger(region(), "refresh");
    }, PAUSE);
  }

  document.addEventListener("live:items", ({ detail }) => {
    if (detail.skipped || detail.items.some((item) => item.taskId === region().dataset.task)) refresh();
  });
  document.addEventListener("live:gap", refresh);
  document.addEventListener("live:ready", refresh);
  setInterval(() => { if (!("over" in region().dataset) && !document.hidden) refresh(); }, POLL);

  // Which parts a person had opened stays as it was; what they began while the answer was on its way, too.
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const live = region();
    if (detail.target !== live) return;
    if (isBusy()) { detail.shouldSwap = false; refresh(); return; }
    const open = [...live.querySelectorAll("details")].map((fold) => fold.open);
    const summaries = [...live.querySelectorAll("summary")], at = summaries.indexOf(document.activeElement);
    document.addEventListener("htmx:afterSettle", () => {
      const folds = region().querySelectorAll("details");
      if (folds.length === open.length) folds.forEach((fold, index) => { fold.open = open[index]; });
      if (at >= 0) region().querySelectorAll("summary")[at]?.focus({ preventScroll: true });
    }, { once: true });
  });
})();
