// One websocket a tab. It tells the page what came as live:state, live:items and live:gap, and keeps the badges true.
(() => {
  "use strict";
  const { body } = document;
  const words = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", out: "Signed out", refused: "Not allowed", many: "Too many tabs", store: "Store away" };
  const SILENCE = 25000, BEAT = 10000, LONGEST = 20000, PATIENCE = 4000, TELL_EVERY = 10000;
  let socket, state, asked, cursor = Number(body.dataset.last) || 0, wait = 500, silence, beat, offline, lastGood = new Date();

  const tell = (name, detail) => document.dispatchEvent(new CustomEvent("live:" + name, { detail }));
  const filters = () => {
    const where = document.querySelector("[data-feed],[data-follow]");
    if (!where) return { type: ["approval."] };
    const { agent: agentId, decision, task, type } = where.dataset;
    return Object.fromEntries(Object.entries({ agentId, decision, taskId: task?.split(" "), type }).filter(([, value]) => value));
  };

  function setState(name) {
    state = name;
    tell("state", { name, word: words[name] });
    const note = document.querySelector("[data-offline]");
    if (name === "live") {
      clearTimeout(offline);
      offline = lastGood = null;
      note.hidden = true;
      return;
    }
    lastGood ||= new Date();
    offline ||= setTimeout(() => {
      const what = { store: "The audit store does not answer.", out: "You are signed out.", many: "You have ten live tabs open: close one." }[state] || "The live connection is away.";
      note.querySelector("[data-offline-what]").textContent = what;
      note.querySelector("[data-offline-since]").textContent = lastGood.toLocaleTimeString("en-GB", { timeZone: window.console_page.zone });
      note.hidden = false;
    }, PATIENCE);
  }

  function open() {
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + body.dataset.socket);
    socket.onopen = () => {
      asked = "";
      hello();
      beat = setInterval(() => send({ op: "ping" }), BEAT);
      listen();
    };
    socket.onmessage = ({ data }) => { listen(); receive(JSON.parse(data)); };
    socket.onclose = ({ code }) => close(code);
  }

  // What the page follows may have become more: the steps of a workflow are tasks of their own.
  function hello() {
    const now = JSON.stringify(filters());
    if (now !== asked) send({ op: "hello", last: cursor, filters: filters() });
    asked = now;
  }

  function send(message) {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  }

  // Browsers do not report a dead link, so silence ends it.
  function listen() {
    clearTimeout(silence);
    silence = setTimeout(() => { const dead = socket; dead.onclose = dead.onmessage = null; dead.close(); close(); }, SILENCE);
  }

  function close(code) {
    clearTimeout(silence);
    clearInterval(beat);
    if (code === 4401) return setState("out");
    if (code === 4403) return setState("refused");
    setState(code === 4429 ? "many" : "reconnecting");
    const moving = code === 1012 || code === 1001; // that process ends: another one serves at once
    setTimeout(open, moving ? Math.random() * 250 : wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST);
  }

  function receive(frame) {
    if (frame.op === "hello") { wait = 500; setState("live"); refreshCounts(); tell("ready", frame); }
    else if (frame.op === "pong") tell("beat");
    else if (frame.op === "store") setState(frame.ok ? "live" : "store");
    else if (frame.op === "gap") { cursor = Math.max(cursor, frame.to); tell("gap", frame); refreshCounts(); }
    else if (frame.op === "ev") {
      cursor = Math.max(cursor, frame.head);
      document.querySelectorAll("[data-head]").forEach((shown) => { shown.textContent = "#" + cursor.toLocaleString("en-GB"); });
      if (frame.items.length || frame.skipped) tell("items", frame);
      if (frame.counts) refreshCounts();
    }
  }

  let counting;
  function refreshCounts() {
    counting ||= setTimeout(async () => {
      counting = null;
      try {
        const answer = await fetch(body.dataset.counts, { headers: { Accept: "application/json" } });
        if (answer.ok) showCounts(await answer.json());
      } catch { /* the next event tries again */ }
    }, 1000);
  }

  function showCounts(counts) {
    document.querySelectorAll("[data-count]").forEach((badge) => {
      const count = counts[badge.dataset.count] || 0;
      badge.hidden = !count;
      badge.firstChild.data = count > 99 ? "99+" : String(count);
    });
  }

  // New rows move no focus; who does not see them is told of them, politely and now and then.
  const status = document.querySelector("[data-live-status]"), follows = document.querySelector("[data-feed],[data-follow]");
  let untold = 0, refused = 0;
  document.addEventListener(document.querySelector("[data-feed]") ? "live:taken" : "live:items", ({ detail }) => {
    const items = detail.items || detail;
    untold += items.length + (detail.skipped || 0);
    refused += items.filter((item) => item.decision === "deny").length;
  });
  setInterval(() => {
    if (untold && follows) status.textContent = untold + (untold === 1 ? " new event" : " new events") + (refused ? ", " + refused + " refused" : "");
    untold = refused = 0;
  }, TELL_EVERY);

  document.querySelectorAll("[data-conn]").forEach((conn) => document.addEventListener("live:state", ({ detail }) => {
    conn.className = "conn " + (detail.name === "live" ? "allow" : detail.name === "connecting" ? "quiet" : "ask");
    conn.querySelector("[data-conn-word]").textContent = detail.word;
  }));
  document.addEventListener("htmx:afterSettle", () => { if (state === "live") hello(); });
  addEventListener("online", () => { wait = 500; });
  setTimeout(() => { setState("connecting"); open(); });
})();
