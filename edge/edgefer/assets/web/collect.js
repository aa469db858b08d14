// The page of `edgefer collect`: polls the state, shows the picture, and a button for each class.

const POLL_MS = 300;
const view = document.getElementById("view");
const status = document.getElementById("status");
const classes = document.getElementById("classes");
const buttons = new Map();

function button(label) {
  if (!buttons.has(label)) {
    const made = document.createElement("button");
    made.type = "button";
    made.addEventListener("click", () => choose(made.getAttribute("aria-pressed") === "true" ? "" : label));
    classes.append(made);
    buttons.set(label, made);
  }
  return buttons.get(label);
}

async function choose(label) {
  const answer = await fetch("/api/collect", { method: "POST", body: JSON.stringify({ label }) });
  if (answer.ok) show(await answer.json());
}

function show(state) {
  for (const [label, count] of Object.entries(state.counts)) {
    const one = button(label);
    one.textContent = `${label}: ${count} of ${state.count}`;
    one.setAttribute("aria-pressed", String(label === state.current));
  }
  if (!state.current) status.textContent = "paused";
  else if (state.countdown_s > 0) status.textContent = `${state.current} in ${Math.ceil(state.countdown_s)} …`;
  else if (state.counts[state.current] >= state.count) status.textContent = `${state.current}: all pictures are there`;
  else status.textContent = state.faces ? `collecting ${state.current}` : `collecting ${state.current}: no face found`;
}

async function poll() {
  try {
    const state = await (await fetch("/api/collect")).json();
    show(state);
    if (state.frame >= 0) view.src = `/api/picture?frame=${state.frame}`;
  } catch {
    status.textContent = "edgefer collect has ended";
  }
  setTimeout(poll, POLL_MS);
}

poll();
