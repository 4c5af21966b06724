// The live feed: new rows on top from a <template>, by textContent alone; a pause; gaps filled and shown.
(() => {
  "use strict";
  const list = document.querySelector("[data-feed]");
  const row = document.querySelector("[data-feed-row]").content.firstElementChild;
  const gapRow = document.querySelector("[data-feed-gap]").content.firstElementChild;
  const [pauseButton, collectedButton, counter, empty] = ["[data-pause]", "[data-collected]", "[data-feed-count]", "[data-feed-empty]"].map((name) => document.querySelector(name));
  const MOST = 200, CATCH_UP = 2000;
  const looks = {
    allow: ["allow", "tick"], ask: ["ask", "ask"], deny: ["deny", "barred"],
    "task.succeeded": ["allow", "succeeded"], "task.failed": ["deny", "failed"], "task.cancelled": ["quiet", "cancelled"], "task.submitted": ["quiet", "queued"],
    "run.started": ["run", "running"], "approval.asked": ["ask", "ask"], "task.parked": ["ask", "waiting"], "approval.granted": ["allow", "tick"],
    "agent.resumed": ["allow", "play"], "skill.released": ["allow", "play"], "fleet.resumed": ["allow", "play"], "fleet.stopped": ["deny", "stopped"],
  };
  const endings = [["failed", "deny", "failed"], ["refused", "deny", "barred"], ["lost", "ask", "alert"], ["published", "block", "edit"], ["finished", "allow", "tick"],
    ["drafted", "block", "edit"], ["paused", "quiet", "pause"], ["quarantined", "deny", "barred"], ["disabled", "quiet", "cancelled"]];
  let paused = false, collected = [], waiting = 0, newest = Number(document.body.dataset.last) || 0;

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

  const asked = () => ["agent", "decision"].filter((name) => list.dataset[name]).map((name) => "&" + name + "=" + encodeURIComponent(list.dataset[name])).join("");

  function makeGap(text, seq) {
    const made = gapRow.cloneNode(true), link = document.createElement("a");
    made.textContent = text;
    if (seq) {
      link.href = "/audit/?before=" + seq + asked();
      link.textContent = "Open the audit trail";
      made.append(" ", link);
    }
    return made;
  }

  // Rows above what is being read, or gone along by keys, would move it away: they are collected until asked for.
  const mustCollect = () => paused || scrollY > 120 || list.contains(document.activeElement);

  function add(made) {
    if (!made.length) return;
    if (mustCollect()) {
      waiting += made.filter((each) => each.dataset.seq).length;
      collected = [...made.reverse(), ...collected].slice(0, MOST);
    } else put(made.reverse());
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
    collectedButton.hidden = !collected.length;
    collectedButton.textContent = waiting + (waiting === 1 ? " new event" : " new events");
  }

  function release() {
    put(collected);
    collected = [];
    waiting = 0;
    showCollected();
  }

  function take(items) {
    const fresh = items.filter((item) => item.seq > newest);
    if (fresh.length) newest = fresh.at(-1).seq;
    document.dispatchEvent(new CustomEvent("live:taken", { detail: fresh }));
    return fresh.map(makeRow);
  }

  let filling = Promise.resolve();
  const inOrder = (step) => { filling = filling.then(step).catch(() => add([makeGap("Part of the feed could not be read.", newest + 1)])); };

  async function fill({ after, to }) {
    const from = Math.max(after, newest), start = Math.max(from, to - CATCH_UP);
    let made = [], missing = 0;
    for (let next = start; next !== null;) {
      const answer = await fetch(list.dataset.range + "?after=" + next + "&to=" + to + asked());
      if (!answer.ok) throw new Error(answer.status);
      const page = await answer.json();
      made = [...made, ...take(page.items)];
      missing += page.missing;
      next = page.next;
    }
    newest = Math.max(newest, to);
    if (start > from) made.unshift(makeGap(start - from + " events of the gap are not shown here.", start + 1));
    if (missing) made.push(makeGap(missing + (missing === 1 ? " event is" : " events are") + " missing from the store.", to + 1));
    add([...made, makeGap("caught up after a gap")]);
  }

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
    if (detail.skipped) made.unshift(makeGap(detail.skipped + " events came too fast to show.", detail.items[0].seq));
    add(made);
  }));
  document.addEventListener("live:gap", ({ detail }) => inOrder(() => fill(detail)));
  pauseButton.hidden = false;
  pauseButton.addEventListener("click", () => setPaused(!paused));
  collectedButton.addEventListener("click", () => { release(); scrollTo(0, 0); });
  const releaseIfFree = () => { if (collected.length && !mustCollect()) release(); };
  addEventListener("scroll", releaseIfFree, { passive: true });
  list.addEventListener("focusout", () => setTimeout(releaseIfFree));
})();
