"use strict";
/* The page: start-up, input, and the cycle and window that are shown. */

const SPEEDS = [1, 2, 5, 10, 20, 60, 200, 1000, 5000, 20000];

async function load() {
  const description = JSON.parse(byId("description").textContent);
  const packed = Uint8Array.from(atob(byId("values").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const kinds = { int8: Int8Array, int32: Int32Array }, arrays = {};
  for (const [name, [kind, at, length]] of Object.entries(description.arrays)) arrays[name] = new kinds[kind](buffer, at, length);
  return new Machine(description, arrays);
}

class View extends TimelinePanel {
  constructor(machine) {
    super(machine);
    this.cycle = 0;
    this.selected = { row: 0, column: 0 };
    this.mode = "flow";
    this.window = this.wholeRun();
    this.playing = false;
    this.rate = 5;
    this.layers = this.layerSpans();
    this.starts = this.passStarts();
    this.fill();
    this.listen();
    this.goTo(this.fromHash() ?? machine.issues[0] + machine.lat.enter + Math.min(8, machine.pass(0, "pixels") - 1));
  }

  fill() {
    const { about } = this, { cycles } = about;
    byId("name").textContent = about.name;
    const seconds = cycles / about.clock, [scale, unit] = seconds < 1e-3 ? [1e6, "µs"] : [1e3, "ms"];
    byId("facts").textContent = `${about.config.rows} × ${about.config.columns} array · ${plural(cycles, "cycle")} · ` +
      `${count(Number((seconds * scale).toPrecision(4)))} ${unit} at ${about.clock / 1e6} MHz · ${plural(this.machine.passes, "pass")}`;
    byId("speed").append(...SPEEDS.map((s) => new Option(`${count(s)}/s`, s, s === this.rate, s === this.rate)));
    byId("array-legend").innerHTML = '<span><i class="scale"></i>weight − 0 +</span><span><i class="disc"></i>activation →</span>' +
      '<span><i class="ring"></i>border</span><span><i class="triangle"></i>sum ↓</span><span><i class="steps"></i>next tile</span>';
    byId("legend").innerHTML = Object.entries(CLASS_NAMES)
      .map(([key, name]) => `<span><i style="background:var(--${key})"></i>${name}</span>`).join("");
    byId("activation-legend").innerHTML = '<span><i style="background:var(--useful)"></i>will be read</span>' +
      '<span><i style="background:var(--padding)"></i>last read in this cycle</span>';
    if (!this.machine.residual.words) byId("residual-block").hidden = true;
    byId("timeline").setAttribute("aria-valuemin", about.reset);
    byId("timeline").setAttribute("aria-valuemax", about.end);
  }

  // The cycle and the window that are shown

  fromHash() {
    const found = /cycle=(-?\d+)/.exec(location.hash);
    return found ? Number(found[1]) : null;
  }

  goTo(cycle) {
    this.cycle = clamp(Math.round(cycle), this.about.reset, this.about.end);
    const [from, to] = this.window, size = to - from;
    if (this.cycle < from || this.cycle > to) this.setWindow(this.cycle - size / 2, this.cycle + size / 2);
    this.redraw();
    if (!this.playing) {
      clearTimeout(this.saving);
      this.saving = setTimeout(() => history.replaceState(null, "", `#cycle=${this.cycle}`), 150);
    }
  }

  /** The window that shows the run, without the loading before it. */
  wholeRun() { return [Math.max(this.about.reset, -20), this.about.end + 20]; }

  setWindow(from, to) {
    const least = 40, first = this.about.reset - 20, last = this.about.end + 20, size = clamp(to - from, least, last - first);
    from = clamp(from, first, Math.max(first, last - size));
    this.window = [from, from + size];
    this.redraw();
  }

  zoom(factor, at = this.cycle) {
    const [from, to] = this.window;
    this.setWindow(at - (at - from) * factor, at + (to - at) * factor);
  }

  jump(starts, direction) {
    const here = latest(starts, this.cycle);
    const to = direction > 0 ? here + 1 : starts[here] === this.cycle ? here - 1 : here;
    if (starts[clamp(to, 0, starts.length - 1)] !== undefined) this.goTo(starts[clamp(to, 0, starts.length - 1)]);
  }

  play(on) {
    this.playing = on;
    byId("play").textContent = on ? "❚❚" : "▶";
    byId("play").setAttribute("aria-label", on ? "Pause" : "Play");
    if (!on) return this.goTo(this.cycle);
    let before = performance.now(), part = 0;
    const step = (now) => {
      if (!this.playing) return;
      part += (now - before) / 1000 * this.rate;
      before = now;
      if (part >= 1) { this.goTo(this.cycle + Math.floor(part)); part %= 1; }
      if (this.cycle >= this.about.end) this.play(false);
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.draw(); });
  }

  draw() {
    this.frame = this.machine.frame(this.cycle);
    this.drawArray();
    this.drawCard();
    this.drawStage();
    this.drawBanks();
    this.drawMemory("activation", this.machine.activation, this.about.memories.activation);
    if (this.machine.residual.words) this.drawMemory("residual", this.machine.residual, this.about.memories.residual);
    this.drawHalves();
    this.drawTimeline();
    if (document.activeElement !== byId("cycle")) byId("cycle").value = this.cycle;
    byId("where").textContent = this.where();
    byId("timeline").setAttribute("aria-valuenow", this.cycle);
  }

  // Input

  listen() {
    const actions = {
      "previous-layer": () => this.jump(this.layers.map((l) => l[0] + this.machine.lat.enter), -1),
      "next-layer": () => this.jump(this.layers.map((l) => l[0] + this.machine.lat.enter), 1),
      "previous-pass": () => this.jump(this.starts, -1), "next-pass": () => this.jump(this.starts, 1),
      back: () => this.goTo(this.cycle - 1), forward: () => this.goTo(this.cycle + 1),
      "zoom-in": () => this.zoom(0.5), "zoom-out": () => this.zoom(2),
      fit: () => this.setWindow(...this.wholeRun()),
    };
    document.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", actions[button.dataset.do]));
    byId("play").addEventListener("click", () => this.play(!this.playing));
    byId("speed").addEventListener("change", (event) => { this.rate = Number(event.target.value); });
    byId("cycle").addEventListener("change", (event) => {
      const value = parseInt(event.target.value.replace(/[−–]/g, "-").replace(/[^\d-]/g, ""), 10);
      if (Number.isFinite(value)) this.goTo(value);
      event.target.blur();
    });
    document.querySelectorAll("[data-mode]").forEach((button) => button.addEventListener("click", () => this.setMode(button.dataset.mode)));
    byId("help").addEventListener("click", () => byId("about").showModal());
    byId("theme").addEventListener("click", () => this.setTheme(!this.dark));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => this.setTheme(event.matches));
    window.addEventListener("hashchange", () => { const at = this.fromHash(); if (at !== null) this.goTo(at); });
    new ResizeObserver(() => this.redraw()).observe(document.body);
    document.addEventListener("keydown", (event) => this.key(event, actions));
    this.listenArray();
    this.listenTimeline();
  }

  key(event, actions) {
    if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|DIALOG/.test(event.target.tagName) || byId("about").open) return;
    const onArray = event.target.id === "array", step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (onArray && moves[event.key]) {
      const [down, right] = moves[event.key], { rows, columns } = this.machine;
      this.select(clamp(this.selected.row + down, 0, rows - 1), clamp(this.selected.column + right, 0, columns - 1));
      return event.preventDefault();
    }
    const keys = {
      " ": () => this.play(!this.playing), ArrowLeft: () => this.goTo(this.cycle - step), ArrowRight: () => this.goTo(this.cycle + step),
      "[": actions["previous-pass"], "]": actions["next-pass"], "{": actions["previous-layer"], "}": actions["next-layer"],
      "+": actions["zoom-in"], "=": actions["zoom-in"], "-": actions["zoom-out"], "0": actions.fit,
      t: () => this.setTheme(!this.dark), Home: () => this.goTo(0), End: () => this.goTo(this.about.cycles - 1),
      m: () => { const modes = ["flow", "activation", "weight", "sum"]; this.setMode(modes[(modes.indexOf(this.mode) + 1) % 4]); },
    };
    if (!keys[event.key] || (event.key === " " && event.target.tagName === "BUTTON")) return;
    keys[event.key]();
    event.preventDefault();
  }

  select(row, column) { this.selected = { row, column }; this.redraw(); }

  setMode(mode) {
    this.mode = mode;
    document.querySelectorAll("[data-mode]").forEach((b) => b.setAttribute("aria-checked", String(b.dataset.mode === mode)));
    this.redraw();
  }

  setTheme(dark) {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    this.readColors();
    this.redraw();
  }

  listenArray() {
    const canvas = byId("array"), tip = byId("tooltip");
    const at = (event) => {
      const box = canvas.getBoundingClientRect(), { left, top, cell } = this.grid;
      const row = Math.floor((event.clientY - box.top - top) / cell), column = Math.floor((event.clientX - box.left - left) / cell);
      return row >= 0 && row < this.machine.rows && column >= 0 && column < this.machine.columns ? { row, column } : null;
    };
    canvas.addEventListener("pointermove", (event) => {
      const found = event.pointerType === "mouse" && at(event);
      tip.hidden = !found;
      if (!found) return;
      const e = this.machine.element(found.row, found.column, this.cycle);
      tip.textContent = `(${found.row}, ${found.column})  ${e.operand} × ${e.weight}\nsum ${count(e.sum)}\n${this.originText(e.sampled, e.lane)}`;
      tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8)}px`;
    });
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    canvas.addEventListener("click", (event) => { const found = at(event); if (found) this.select(found.row, found.column); });
  }

  listenTimeline() {
    const canvas = byId("timeline"), fingers = new Map();
    let overview = false, spread = 0;
    const cycleAt = (event) => {
      const box = canvas.getBoundingClientRect(), share = (event.clientX - box.left) / box.width, [from, to] = this.window;
      return overview ? this.about.reset + share * (this.about.end - this.about.reset) : from + share * (to - from);
    };
    const follow = (event) => {
      if (overview) { const size = this.window[1] - this.window[0], at = cycleAt(event); this.setWindow(at - size / 2, at + size / 2); }
      else this.goTo(cycleAt(event));
    };
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, event);
      canvas.setPointerCapture(event.pointerId);
      overview = event.clientY - canvas.getBoundingClientRect().top < 13;
      spread = 0;
      if (this.playing) this.play(false);
      if (fingers.size === 1) follow(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, event);
      if (fingers.size < 2) return follow(event);
      const [a, b] = [...fingers.values()], now = Math.abs(a.clientX - b.clientX);
      if (spread && now) this.zoom(spread / now, cycleAt({ clientX: (a.clientX + b.clientX) / 2 }));
      spread = now;
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      overview = false;
      const [from, to] = this.window, size = to - from;
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
        const by = (event.deltaX || event.deltaY) / canvas.clientWidth * size;
        this.setWindow(from + by, to + by);
      } else this.zoom(Math.exp(event.deltaY * 0.0015), cycleAt(event));
    }, { passive: false });
  }
}

document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
window.etchnet = {};
window.etchnet.ready = load().then((machine) => {
  const view = new View(machine);
  Object.assign(window.etchnet, {
    machine, description: machine.about, view,
    element: (row, column, cycle) => machine.element(row, column, cycle),
    frame: (cycle) => machine.frame(cycle),
    setCycle: (cycle) => view.goTo(cycle),
  });
  Object.defineProperty(window.etchnet, "cycle", { get: () => view.cycle });
}).catch((error) => {
  document.querySelector("main").innerHTML = '<p class="failure"></p>';
  document.querySelector(".failure").textContent = `This page cannot show its trace: ${error.message}`;
  throw error;
});
