// The live feed: new rows on top from a <template>, by textContent alone; a pause; gaps filled and shown.
(() => {
  "use strict";
  const list = document.querySelector("[data-feed]");
  const row = document.querySelector("[data-feed-row]").content.firstElementChild;
  const gapRow = document.querySelector("[data-feed-gap]").content.firstElementChild;
  const [pauseButton, collectedButton, counter, empty, status] = ["[data-pause]", "[data-collected]", "[data-feed-count]", "[data-feed-empty]", "[data-feed-status]"].map((name) => document.querySelector(name));
  const MOST = 200, TELL_EVERY = 10000;
  const looks = {
    allow: ["allow", "tick"], ask: ["ask", "ask"], deny: ["deny", "barred"],
    "task.succeeded": ["allow", "succeeded"], "task.failed": ["deny", "failed"], "task.cancelled": ["quiet", "cancelled"], "task.submitted": ["quiet", "queued"],
    "run.started": ["run", "running"], "approval.asked": ["ask", "ask"], "task.parked": ["ask", "waiting"], "approval.granted": ["allow", "tick"],
    "agent.resumed": ["allow", "play"], "skill.released": ["allow", "play"], "fleet.resumed": ["allow", "play"], "fleet.stopped": ["deny", "stopped"],
  };
  const endings = [["failed", "deny", "failed"], ["refused", "deny", "barred"], ["lost", "ask", "alert"], ["published", "block", "edit"], ["finished", "allow", "tick"],
    ["drafted", "block", "edit"], ["paused", "quiet", "pause"], ["quarantined", "deny", "barred"], ["disabled", "quiet", "cancelled"]];
  let paused = false, collected = [], untold = 0, refused = 0, newest = Number(document.body.dataset.last) || 0;

  function lookOf(item) {
    const known = looks[item.decision] || looks[item.type];
    if (known) return known;
    const ending = endings.find(([end]) => item.type.endsWith(end));
    return ending ? ending.slice(1) : ["quiet", /^(user|token)\./.test(item.type) ? "key" : "info"];
  }

  function makeRow(item) {
    const made = row.cloneNode(true), [tint, glyph] = lookOf(item);
    made.dataset.seq = item.seq;
    made.className = "fresh";
    made.querySelector(".at").href = "/audit/" + Number(item.seq) + "/";
    const time = made.querySelector("time");
    time.dateTime = item.at;
    window.console_page.show(time);
    made.querySelector(".ink").classList.add(tint);
    made.querySelector("use").setAttribute("href", "#i-" + glyph);
    made.querySelector(".who").textContent = item.subject;
    const what = made.querySelector(".what");
    const at = item.skillId ? item.text.indexOf(item.skillId) : -1, end = at + (item.skillId || "").length;
    what.textContent = at < 0 ? item.text : item.text.slice(0, at);
    if (at >= 0) {
      what.appendChild(document.createElement("code")).textContent = item.skillId;
      what.append(item.text.slice(end));
    }
    if (item.taskId) {
      const link = document.createElement("a");
      link.className = "mono";
      link.href = "/tasks/" + encodeURIComponent(item.taskId) + "/";
      link.textContent = item.taskId.slice(-8);
      made.querySelector(".task").append(link);
    }
    return made;
  }

  function makeGap(text, href) {
    const made = gapRow.cloneNode(true);
    made.textContent = text;
    if (href) {
      const link = document.createElement("a");
      link.href = href;
      link.textContent = "Open the audit trail";
      made.append(" ", link);
    }
    return made;
  }

  // Rows above what is being read would move it away: they are collected until asked for.
  const mustCollect = () => paused || scrollY > 120;

  function add(made) {
    if (!made.length) return;
    if (mustCollect()) collected = [...made.reverse(), ...collected].slice(0, MOST);
    else put(made.reverse());
    showCollected();
  }

  function put(made) {
    list.prepend(...made);
    while (list.children.length > MOST) list.lastElementChild.remove();
    empty.hidden = list.children.length > 0;
    const shown = list.querySelectorAll("[data-seq]").length;
    counter.textContent = shown + (shown === 1 ? " event shown" : " events shown");
  }

  function showCollected() {
    const count = collected.filter((made) => made.dataset.seq).length;
    collectedButton.hidden = !collected.length;
    collectedButton.textContent = count + (count === 1 ? " new event" : " new events");
  }

  function release() {
    put(collected);
    collected = [];
    showCollected();
  }

  function take(items) {
    const fresh = items.filter((item) => item.seq > newest);
    if (fresh.length) newest = fresh.at(-1).seq;
    untold += fresh.length;
    refused += fresh.filter((item) => item.decision === "deny").length;
    return fresh.map(makeRow);
  }

  let filling = Promise.resolve();
  const inOrder = (step) => { filling = filling.then(step).catch(() => add([makeGap("Part of the feed could not be read.", "/audit/")])); };

  async function fill({ after, to }) {
    let made = [], from = Math.max(after, newest);
    for (let next = from; next !== null;) {
      const answer = await fetch(list.dataset.range + "?after=" + next + "&to=" + to);
      if (!answer.ok) throw new Error(answer.status);
      const page = await answer.json();
      made = [...made, ...take(page.items.filter(wanted))].slice(-MOST);
      next = page.next;
    }
    newest = Math.max(newest, to);
    add([...made, makeGap("caught up after a gap")]);
  }

  const wanted = (item) => (!list.dataset.agent || item.agentId === list.dataset.agent) && (!list.dataset.decision || item.decision === list.dataset.decision);

  function setPaused(now) {
    paused = now;
    pauseButton.setAttribute("aria-pressed", String(paused));
    pauseButton.querySelector("span").textContent = paused ? "Go on" : "Pause";
    pauseButton.querySelector("use").setAttribute("href", paused ? "#i-play" : "#i-pause");
    document.dispatchEvent(new CustomEvent("live:state", { detail: paused ? { name: "paused", word: "Paused" } : state }));
    if (!paused) release();
  }

  let state = { name: "connecting", word: "Connecting" };
  document.addEventListener("live:state", ({ detail }) => { if (detail.name !== "paused") state = detail; });
  document.addEventListener("live:items", ({ detail }) => inOrder(() => {
    const made = take(detail.items);
    if (detail.skipped) made.unshift(makeGap(detail.skipped + " events came too fast to show.", "/audit/"));
    add(made);
  }));
  document.addEventListener("live:gap", ({ detail }) => inOrder(() => fill(detail)));
  pauseButton.hidden = false;
  pauseButton.addEventListener("click", () => setPaused(!paused));
  collectedButton.addEventListener("click", () => { release(); scrollTo(0, 0); });
  addEventListener("scroll", () => { if (collected.length && !mustCollect()) release(); }, { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "p" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input,textarea,select")) return;
    setPaused(!paused);
  });
  setInterval(() => {
    if (!untold) return;
    status.textContent = untold + (untold === 1 ? " new event" : " new events") + (refused ? ", " + refused + " refused" : "");
    untold = refused = 0;
  }, TELL_EVERY);
})();
