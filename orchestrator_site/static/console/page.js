// What every page does: times in the reader's zone, copy buttons, one send per click.
(() => {
  "use strict";
  const zone = document.documentElement.dataset.timeZone || Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const shapes = {
    clock: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
    stamp: { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
  };
  const inZone = (shape) => new Intl.DateTimeFormat("en-GB", { ...shape, timeZone: zone });
  const formats = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, inZone(shape)]));
  const days = inZone({ day: "numeric", month: "short" }), dates = inZone({ dateStyle: "short" });
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function span(size) {
    const [length, unit] = units.find(([length]) => size >= length) || units.at(-1);
    return Math.floor(size / length) + " " + unit;
  }

  function describe(at) {
    const seconds = (Date.now() - at) / 1000, size = Math.abs(seconds);
    if (size < 5) return "just now";
    return seconds > 0 ? span(size) + " ago" : "in " + span(size);
  }

  function describeSla(at) {
    const left = (at - Date.now()) / 1000;
    return left > 0 ? "answer due in " + span(left) : "answer overdue by " + span(-left);
  }

  function show(time) {
    const at = new Date(time.dateTime);
    if (isNaN(at)) return;
    const kind = time.dataset.show;
    const day = kind === "clock" && dates.format(at) !== dates.format(new Date()) ? days.format(at) + " " : "";
    const text = kind === "ago" ? describe(at) : kind === "sla" ? describeSla(at) : day + formats[kind].format(at);
    if (time.textContent !== text) time.textContent = text;
    time.title = formats.stamp.format(at) + " " + zone;
  }

  function showAll(root) {
    root.querySelectorAll("time[data-show]").forEach(show);
  }

  // How far the zone's clocks are ahead at a moment: Swedish writes times as ISO 8601 does.
  function ahead(at) {
    return new Date(at.toLocaleString("sv-SE", { timeZone: zone }).replace(" ", "T") + "Z") - Math.floor(at / 1000) * 1000;
  }

  // A form sends UTC; a person types the time that the lists show.
  function localise(input) {
    const sent = Object.assign(document.createElement("input"), { type: "hidden", name: input.name });
    const at = new Date(input.defaultValue + "Z"), label = input.labels[0];
    const read = (typed) => new Date(typed - ahead(new Date(typed - ahead(typed))));
    const keep = () => { sent.value = input.value && read(new Date(input.value + "Z")).toISOString(); };
    if (!isNaN(at)) input.value = new Date(+at + ahead(at)).toISOString().slice(0, 19);
    input.removeAttribute("name");
    label.textContent = label.textContent.replace(" (UTC)", "");
    label.title = zone;
    input.after(sent);
    keep();
    ["input", "change"].forEach((name) => input.addEventListener(name, keep));
  }

  function start() {
    document.querySelectorAll("input[data-utc]").forEach(localise);
    document.querySelectorAll("[data-zone]").forEach((where) => { where.textContent = zone; });
    showAll(document);
    setInterval(() => document.querySelectorAll('time:is([data-show="ago"],[data-show="sla"])').forEach(show), 15000);
  }

  async function copy(button) {
    const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
    try {
      await navigator.clipboard.writeText(source ? source.textContent : button.dataset.copy);
    } catch {
      if (source) getSelection().selectAllChildren(source);
      return;
    }
    button.classList.add("done");
    const label = button.getAttribute("aria-label");
    button.setAttribute("aria-label", "Copied");
    setTimeout(() => { button.classList.remove("done"); button.setAttribute("aria-label", label); }, 1600);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy],[data-copy-from]");
    if (button) copy(button);
  });
  // A second press while the first is on its way would send twice; Back must find the button alive again.
  document.addEventListener("submit", (event) => {
    const { submitter, target } = event;
    if (event.defaultPrevented || !submitter || target.method !== "post") return;
    setTimeout(() => { submitter.disabled = true; submitter.dataset.sent = ""; });
  });
  addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((button) => { button.disabled = false; }));
  // An address that somebody shares says what was asked for, and nothing of what was left empty.
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (detail.verb !== "get" || detail.elt.tagName !== "FORM") return;
    [...detail.formData].forEach(([name, value]) => { if (value === "") detail.formData.delete(name); });
  });
  const failed = (shown) => document.querySelectorAll("[data-failed]").forEach((note) => { note.hidden = !shown; });
  ["htmx:sendError", "htmx:responseError", "htmx:timeout"].forEach((name) => document.addEventListener(name, () => failed(true)));
  // A session that ended answers with the login page, which is no part of this one.
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (!new URL(event.detail.xhr.responseURL).pathname.startsWith("/accounts/")) return failed(false);
    event.preventDefault();
    location.reload();
  });
  document.addEventListener("htmx:afterSwap", (event) => showAll(event.detail.elt.parentNode || document));
  window.console_page = { show, showAll, zone };
  start();
})();
