"use strict";
/* What the page draws, and what it does when it is touched. All values come from `Machine`; nothing is kept between
   cycles but where the reader looks. */

const byId = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en").format;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const CLASS_NAMES = { useful: "useful", padding: "padding", weight_load: "weight load", requantise: "requantise",
  fill_drain: "fill & drain", wait_in: "wait for link in", wait_out: "wait for link out" };
const SPEEDS = [1, 2, 5, 10, 20, 60, 200, 1000, 5000, 20000];
const LANES = [["layers", 15], ["cycles", 16], ["drains", 9], ["in", 6], ["out", 6], ["memory", 22]];
const DESTINATIONS = { ACTIVATION: "activation memory", OUTPUT: "output memory", ACCUMULATORS: "accumulators", RESIDUAL: "residual memory" };

async function load() {
  const description = JSON.parse(byId("description").textContent);
  const packed = Uint8Array.from(atob(byId("values").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const kinds = { int8: Int8Array, int32: Int32Array }, arrays = {};
  for (const [name, [kind, at, length]] of Object.entries(description.arrays)) arrays[name] = new kinds[kind](buffer, at, length);
  return new Machine(description, arrays);
}

class View {
  constructor(machine) {
    this.machine = machine;
    this.about = machine.about;
    this.cycle = this.about.start;
    this.selected = { row: 0, column: 0 };
    this.mode = "flow";
    this.window = [Math.max(0, this.about.start - 20), this.about.end + 20];
    this.playing = false;
    this.rate = 5;
    this.layers = this.layerSpans();
    this.starts = this.passStarts();
    this.readColors();
    this.fill();
    this.listen();
    this.goTo(this.fromHash() ?? machine.issues[0] + machine.lat.enter + 8);
  }

  // What stays the same

  fill() {
    const { about } = this, cycles = about.finish - about.start;
    byId("name").textContent = about.name;
    const milliseconds = cycles / about.clock * 1e3;
    byId("facts").textContent = `${about.config.rows} × ${about.config.columns} array · ${count(cycles)} cycles · ` +
      `${milliseconds < 10 ? milliseconds.toFixed(3) : count(Math.round(milliseconds))} ms at ${about.clock / 1e6} MHz · ${count(this.machine.passes)} passes`;
    byId("speed").append(...SPEEDS.map((s) => new Option(`${count(s)}/s`, s, s === this.rate, s === this.rate)));
    byId("array-legend").innerHTML = '<span><i class="scale"></i>weight − 0 +</span><span><i class="disc"></i>activation →</span>' +
      '<span><i class="ring"></i>border</span><span><i class="triangle"></i>sum ↓</span><span><i class="steps"></i>next tile</span>';
    byId("legend").innerHTML = Object.entries(CLASS_NAMES)
      .map(([key, name]) => `<span><i style="background:var(--${key})"></i>${name}</span>`).join("");
    byId("activation-legend").innerHTML = '<span><i style="background:var(--useful)"></i>will be read</span>' +
      '<span><i style="background:var(--padding)"></i>read for the last time</span>';
    if (!this.machine.residual.words) byId("residual-block").hidden = true;
    byId("timeline").setAttribute("aria-valuemax", about.end);
  }

  /** Passes of one layer in a row: [from, to, layer]. */
  layerSpans() {
    const { machine } = this, spans = [];
    for (let i = 0; i < machine.issues.length; i++) {
      const layer = machine.label(i, "layer"), end = machine.issues[i] + machine.slot(i), last = spans.at(-1);
      if (last && last[2] === layer) last[1] = end;
      else spans.push([machine.issues[i], end, layer]);
    }
    return spans;
  }

  passStarts() { return Array.from(this.machine.issues, (c) => c + this.machine.lat.enter); }

  readColors() {
    const style = getComputedStyle(document.documentElement), get = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colors = Object.fromEntries(["page", "panel", "sunken", "ink", "muted", "line", "accent", "strong", "positive", "negative",
      "neutral", ...Object.keys(CLASS_NAMES)].map((name) => [name, get(name)]));
    const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    const [negative, neutral, positive] = ["negative", "neutral", "positive"].map((name) => channels(this.colors[name]));
    // From -1 over 0 to 1 in 64 steps to each side.
    this.scale = Array.from({ length: 129 }, (_, i) => {
      const t = (i - 64) / 64, end = t < 0 ? negative : positive, share = Math.abs(t) ** 0.8;
      return `rgb(${neutral.map((n, k) => Math.round(n + (end[k] - n) * share)).join(" ")})`;
    });
    this.dark = channels(this.colors.page)[0] < 128;
  }

  shade(value, most) { return this.scale[Math.round(clamp(value / most, -1, 1) * 64) + 64]; }

  /** Black or white, whichever reads on what `shade` gave. */
  inkOn(value, most) { return Math.abs(value / most) > 0.55 ? (this.dark ? "#06131f" : "#ffffff") : this.colors.ink; }

  // Where we are

  fromHash() {
    const found = /cycle=(\d+)/.exec(location.hash);
    return found ? Number(found[1]) : null;
  }

  goTo(cycle) {
    this.cycle = clamp(Math.round(cycle), 0, this.about.end);
    const [from, to] = this.window, size = to - from;
    if (this.cycle < from || this.cycle > to) this.setWindow(this.cycle - size / 2, this.cycle + size / 2);
    this.redraw();
    if (!this.playing) {
      clearTimeout(this.saving);
      this.saving = setTimeout(() => history.replaceState(null, "", `#cycle=${this.cycle}`), 150);
    }
  }

  setWindow(from, to) {
    const least = 40, most = this.about.end + 40, size = clamp(to - from, least, most);
    from = clamp(from, -20, Math.max(-20, most - 20 - size));
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

  // Drawing

  /** A canvas's context, cleared, in CSS pixels of width x height. */
  canvas(id, height) {
    const canvas = byId(id), width = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
    const size = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) { [canvas.width, canvas.height] = size; canvas.style.height = `${height}px`; }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
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

  where() {
    const { machine, about, cycle } = this, index = machine.passAt(cycle - machine.lat.enter);
    const segment = latest(machine.arrays.segment_start, cycle);
    const inside = segment >= 0 && cycle < machine.arrays.segment_start[segment] + machine.arrays.segment_length[segment];
    const spent = inside ? about.classes[machine.arrays.segment_class[segment]].replace("_", " ") : "outside of the run";
    return index < 0 ? spent : `${spent} · ${this.layerName(machine.label(index, "layer"))} · pass ${index % machine.passes}`;
  }

  destination(number) {
    const [name] = Object.entries(this.machine.enums.Destination).find(([, value]) => value === this.machine.drain(number, "destination"));
    return DESTINATIONS[name];
  }

  layerName(layer) { return layer < 0 ? "input" : `layer ${layer}, ${this.about.layers[layer].operation}`; }

  drawArray() {
    const { machine, frame, colors, mode } = this, { rows, columns } = machine;
    const width = byId("array").clientWidth, room = window.innerWidth > 760 ? Math.max(220, window.innerHeight - 330) : width;
    const cell = Math.max(6, Math.min((width - 2) / columns, room / rows));
    const { context } = this.canvas("array", Math.ceil(cell * rows) + 2);
    const left = Math.max(1, (width - cell * columns) / 2);
    this.grid = { left, top: 1, cell };
    const most = { activation: 128, weight: 127, sum: Math.max(1, ...frame.sums.map(Math.abs)) };
    context.font = `${Math.min(11, cell * 0.34)}px ui-monospace, monospace`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const values = { activation: frame.operands, weight: frame.weights, sum: frame.sums };
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
      const i = r * columns + c, x = left + c * cell, y = 1 + r * cell, bubble = frame.kinds[i] === 0;
      if (mode === "flow") {
        context.fillStyle = this.shade(frame.weights[i], 220);
        context.fillRect(x, y, cell - 1, cell - 1);
        if (!bubble) {
          const radius = cell * (0.12 + 0.16 * Math.abs(frame.operands[i]) / 128);
          context.beginPath();
          context.arc(x + cell * 0.36, y + cell * 0.36, radius, 0, 7);
          context.lineWidth = 1.5;
          context.strokeStyle = context.fillStyle = frame.operands[i] < 0 ? colors.negative : colors.positive;
          if (frame.kinds[i] === 1) { context.strokeStyle = colors.muted; context.stroke(); } else context.fill();
        }
        if (frame.summing[i]) {
          const size = cell * (0.1 + 0.16 * Math.abs(frame.sums[i]) / most.sum), at = [x + cell * 0.68, y + cell * 0.66];
          context.beginPath();
          context.moveTo(at[0] - size, at[1] - size * 0.8);
          context.lineTo(at[0] + size, at[1] - size * 0.8);
          context.lineTo(at[0], at[1] + size);
          context.fillStyle = frame.sums[i] < 0 ? colors.negative : colors.positive;
          context.fill();
        }
      } else {
        const value = values[mode][i], empty = mode === "activation" ? bubble : mode === "sum" && !frame.summing[i];
        context.fillStyle = empty ? colors.sunken : this.shade(value, most[mode]);
        context.fillRect(x, y, cell - 1, cell - 1);
        if (!empty && cell >= 20) {
          context.fillStyle = this.inkOn(value, most[mode]);
          context.fillText(mode === "sum" && Math.abs(value) > 9999 ? `${Math.round(value / 1000)}k` : value, x + cell / 2, y + cell / 2);
        }
      }
    }
    // Steps between tiles, and the elements that work on the chosen one's pixel.
    context.strokeStyle = colors.strong;
    context.lineWidth = 2;
    context.beginPath();
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
      const i = r * columns + c, x = left + c * cell, y = 1 + r * cell;
      if (c + 1 < columns && frame.passes[i] !== frame.passes[i + 1]) { context.moveTo(x + cell - 0.5, y - 0.5); context.lineTo(x + cell - 0.5, y + cell - 0.5); }
      if (r + 1 < rows && frame.passes[i] !== frame.passes[i + columns]) { context.moveTo(x - 0.5, y + cell - 0.5); context.lineTo(x + cell - 0.5, y + cell - 0.5); }
    }
    context.stroke();
    const { row, column } = this.selected;
    context.strokeStyle = colors.accent;
    for (let r = 0; r < rows; r++) {
      const c = row + column - r;
      if (c < 0 || c >= columns) continue;
      context.lineWidth = r === row ? 3 : 1;
      context.strokeRect(left + c * cell, 1 + r * cell, cell - 1, cell - 1);
    }
    const vector = machine.vector(this.cycle - machine.lat.enter);
    byId("entering").textContent = vector.kind === "bubble" ? "entering: a bubble"
      : `entering: pixel ${vector.k + 1} of ${machine.pass(vector.index, "pixels")} of pass ${vector.index % machine.passes}` +
        (vector.kind === "border" ? ", outside of the image" : `, word ${vector.word}`);
  }

  /** Where a byte that entered the array comes from, in words. */
  originText(decided, lane) {
    const from = this.machine.origin(decided, lane);
    if (from.kind === "bubble") return "a bubble: nothing entered in that cycle";
    if (from.kind === "empty") return `word ${from.word}: never written`;
    if (from.kind === "border") return "outside of the image: the pad value" + (from.packed ? `, put into word ${from.word} by the host` : "");
    const name = this.layerName(from.layer);
    if (from.kind === "padding") return `${name}, word ${from.word}: padding after the last channel`;
    const image = this.about.batch * this.about.repeats > 1 ? `input ${from.image}, ` : "";
    return `${name}: ${image}line ${from.line}, column ${from.column}, channel ${from.channel} (${from.memory} word ${from.word})`;
  }

  drawCard() {
    const { machine, about } = this, { row, column } = this.selected, found = machine.element(row, column, this.cycle);
    const parts = [`<h2 id="card-title">Element (${row}, ${column})</h2>`,
      `<p class="equation">${found.operand} × ${found.weight} = ${found.product}<small>multiplied in this cycle</small></p><dl>`];
    const item = (mark, name, value, text) => parts.push(`<dt>${mark}${name}<b>${value}</b></dt><dd>${text}</dd>`);
    const dot = (kind, value) => `<i class="${kind}" style="${kind === "triangle" ? "border-top-color" : "background"}:` +
      `var(--${value < 0 ? "negative" : "positive"})"></i>`;
    item(dot("disc", found.operand), found.windowed ? "sample" : "activation", found.operand, this.escape(this.originText(found.sampled, found.lane)));
    if (found.index < 0) item("<i></i>", "weight", found.weight, "no pass has begun");
    else {
      const layer = machine.label(found.index, "layer"), p = found.index % machine.passes;
      const tap = machine.tap(found.index), channel = machine.label(found.index, "tile") * machine.columns + column;
      item(`<i style="background:${this.shade(found.weight, 127)}"></i>`, "weight", found.weight,
        `${this.escape(this.layerName(layer))}: tap ${this.escape(String(tap))}, input word ${machine.label(found.index, "word")}, byte ${row}, output channel ${channel}`);
      const k = found.kind === "bubble" ? -1 : found.decided - machine.issues[found.index];
      item("", "pass", p, k < 0 ? "between its pixels and the next pass" : `pixel ${k + 1} of ${machine.pass(found.index, "pixels")}`);
      if (k >= 0) {
        const number = machine.keptNumber(found.index, k);
        if (number < 0) item("", "result", "–", "no window begins here: the sum is dropped");
        else {
          const at = machine.resultPixel(found.index, number), held = machine.isHeld(found.index);
          const into = machine.pass(found.index, "row") + (held ? 0 : number);
          item("", "result", "", `line ${at.line}, column ${at.column}, channel ${channel}; accumulator row ${into} of bank ${machine.pass(found.index, "bank")}`);
        }
      }
    }
    item(dot("triangle", found.sum), "partial sum", count(found.sum),
      `rows 0 to ${row} of column ${column}, of the pixel ${machine.lat.element} cycles ahead; ${count(found.above)} came from above`);
    parts.push("</dl>");
    byId("card").innerHTML = parts.join("");
    clearTimeout(this.speaking);
    if (!this.playing) this.speaking = setTimeout(() => {
      byId("card-live").textContent = `Element ${row}, ${column}: ${found.operand} times ${found.weight}, sum ${found.sum}`;
    }, 400);
    void about;
  }

  escape(text) { return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`); }

  drawStage() {
    const { machine } = this, { reading, writing } = machine.outputStage(this.cycle);
    const { context, width, height } = this.canvas("stage", 26);
    const say = [];
    if (reading) say.push(`reads row ${machine.drain(reading.number, "row") + reading.row} of ${machine.drain(reading.number, "residual") ? "the residual memory" : `bank ${machine.drain(reading.number, "bank")}`}`);
    byId("stage-note").textContent = reading || writing ? `drain ${(writing || reading).number % machine.drains}` : "idle";
    context.fillStyle = this.colors.sunken;
    context.fillRect(0, 0, width, height);
    if (writing) {
      const { number, row } = writing, layer = machine.write(number, "layer"), cell = width / machine.columns;
      const values = Array.from({ length: machine.columns }, (_, c) => machine.result(number, row, c));
      const most = Math.max(127, ...values.map(Math.abs));
      context.font = "11px ui-monospace, monospace";
      context.textAlign = "center";
      context.textBaseline = "middle";
      values.forEach((value, c) => {
        context.fillStyle = this.shade(value, most);
        context.fillRect(c * cell, 0, cell - 1, height);
        if (cell < 22 || Math.abs(value) > 9999) return;
        context.fillStyle = this.inkOn(value, most);
        context.fillText(value, (c + 0.5) * cell, height / 2);
      });
      say.push(`writes ${layer < 0 ? "" : `${this.layerName(layer)} `}to word ${machine.target(number, row)} of the ${this.destination(number)}`);
    }
    byId("stage-text").textContent = say.join(" · ");
  }

  /** A grid of small cells, as many to a line as fit: `color(i)` for each. */
  cells(id, total, size, color) {
    const width = byId(id).clientWidth, each = Math.max(1, Math.floor(width / size)), lines = Math.max(1, Math.ceil(total / each));
    const { context } = this.canvas(id, lines * size);
    for (let i = 0; i < total; i++) {
      context.fillStyle = color(i);
      context.fillRect((i % each) * size, Math.floor(i / each) * size, size - 1, size - 1);
    }
    return { each, size };
  }

  drawBanks() {
    const { machine, colors } = this, size = this.about.config.accumulator_rows;
    const shades = { empty: colors.sunken, filling: colors.padding, complete: colors.useful, read: colors.line };
    let used = 0;
    const states = Array.from({ length: 2 * size }, (_, i) => machine.accumulator(i < size ? 0 : 1, i % size, this.cycle).state);
    for (const state of states) used += state === "filling" || state === "complete";
    this.bankGrid = this.cells("banks", 2 * size, 2 * size > 600 ? 5 : 7, (i) => shades[states[i]]);
    byId("banks-note").textContent = `${used} of ${2 * size} rows in use`;
  }

  drawMemory(id, memory, words) {
    const { colors, cycle } = this, size = words > 1500 ? 4 : words > 600 ? 5 : 7;
    let live = 0;
    this.cells(id, Math.max(1, words), size, (word) => {
      const at = words ? this.machine.instance(memory, word, 0, cycle) : -1;
      if (at < 0 || memory.until[at] < cycle) return colors.sunken;
      live++;
      return memory.until[at] === memory.cycle[at] || memory.until[at] - cycle < 2 ? colors.padding : colors.useful;
    });
    byId(`${id}-note`).textContent = `${count(live)} words live, of ${count(memory.words)}`;
  }

  drawHalves() {
    const { machine, about, colors, cycle } = this, passes = machine.passes;
    const index = machine.passAt(cycle), repeat = index < 0 ? -1 : Math.floor(index / passes);
    const bars = (id, shares, color) => {
      const { context, width, height } = this.canvas(id, 14), each = width / shares.length;
      shares.forEach((share, i) => {
        context.fillStyle = colors.sunken;
        context.fillRect(i * each, 0, each - 2, height);
        context.fillStyle = color;
        context.fillRect(i * each, 0, (each - 2) * clamp(share, 0, 1), height);
      });
    };
    const moved = (name, wanted) => {
      const starts = machine.arrays[`link_${name}_start`], lengths = machine.arrays[`link_${name}_length`], what = machine.arrays[`link_${name}_what`];
      let words = 0;
      for (let i = 0; i < starts.length && starts[i] <= cycle; i++) if (about.transfers[what[i]] === wanted) words += Math.min(lengths[i], cycle - starts[i]);
      return words;
    };
    const perInput = Math.max(1, this.total("in", "input") / about.repeats);
    const arrived = moved("in", "input") / perInput;
    bars("input", [0, 1].map((half) => {
      let share = 0;
      for (let n = half; n < about.repeats; n += 2) if (n >= repeat) { share = arrived - n; break; }
      return share;
    }), colors.wait_in);
    byId("input-note").textContent = `${Math.min(about.repeats, Math.floor(arrived))} in`;
    const left = moved("out", "results") / Math.max(1, this.total("out", "results") / about.repeats);
    bars("output", [left - Math.floor(left) || (left >= about.repeats ? 1 : 0)], colors.wait_out);
    byId("output-note").textContent = `${Math.floor(left)} out`;
    const tiles = Math.max(1, about.memories.weights), tile = index < 0 ? -1 : machine.pass(index, "weights") / about.config.load_cycles;
    const { context, width, height } = this.canvas("weights", 14);
    context.fillStyle = colors.sunken;
    context.fillRect(0, 0, width, height);
    context.fillStyle = colors.accent;
    if (tile >= 0) context.fillRect(tile / tiles * width, 0, Math.max(3, width / tiles), height);
    byId("weights-note").textContent = tile < 0 ? "" : `tile ${Math.floor(tile)} of ${tiles}`;
  }

  total(name, wanted) {
    let words = 0;
    this.machine.arrays[`link_${name}_length`].forEach((length, i) => {
      if (this.about.transfers[this.machine.arrays[`link_${name}_what`][i]] === wanted) words += length;
    });
    return words;
  }

  drawTimeline() {
    const { machine, colors, about } = this, arrays = machine.arrays, [from, to] = this.window;
    const top = 16, height = top + LANES.reduce((sum, [, size]) => sum + size + 3, 0) + 2;
    const { context, width } = this.canvas("timeline", height);
    const x = (cycle) => (cycle - from) / (to - from) * width, whole = (cycle) => cycle / about.end * width;
    const bar = (start, end, y, size, color, at = x) => {
      const a = at(start), b = at(end);
      if (b < 0 || a > width) return;
      context.fillStyle = color;
      context.fillRect(Math.max(0, a), y, Math.max(0.7, Math.min(width, b) - Math.max(0, a)), size);
    };
    const segments = (first, last, at, y, size) => {
      for (let i = first; i < last; i++) {
        const name = about.classes[arrays.segment_class[i]], start = arrays.segment_start[i], end = start + arrays.segment_length[i];
        if (name !== "issue") { bar(start, end, y, size, colors[name], at); continue; }
        const used = machine.pass(arrays.segment_pass[i], "useful") / (machine.rows * machine.columns);
        bar(start, end, y, size, colors.padding, at);
        bar(start, end, y + size * (1 - used), size * used, colors.useful, at);
      }
    };
    // The whole trace, with the window below.
    context.fillStyle = colors.sunken;
    context.fillRect(0, 0, width, 11);
    segments(0, arrays.segment_start.length, whole, 1, 9);
    context.strokeStyle = colors.strong;
    context.lineWidth = 1.5;
    context.strokeRect(Math.max(1, whole(from)), 0.75, Math.max(4, Math.min(width - 2, whole(to)) - Math.max(1, whole(from))), 10);
    let y = top;
    this.lanes = [];
    const first = Math.max(0, latest(arrays.segment_start, from)), last = latest(arrays.segment_start, to) + 1;
    for (const [name, size] of LANES) {
      context.fillStyle = colors.sunken;
      context.fillRect(0, y, width, size);
      this.lanes.push([name, y, size]);
      if (name === "layers") {
        context.font = "10px system-ui, sans-serif";
        context.textBaseline = "middle";
        context.textAlign = "left";
        for (const [start, end, layer] of this.layers) {
          bar(start, end, y, size, layer % 2 ? colors.line : colors.panel);
          const a = Math.max(0, x(start)), room = Math.min(width, x(end)) - a, text = about.layers[layer].operation;
          context.fillStyle = colors.ink;
          if (room > 24 && context.measureText(text).width < room - 6) context.fillText(text, a + 3, y + size / 2 + 0.5);
        }
      } else if (name === "cycles") segments(first, last, x, y, size);
      else if (name === "drains") {
        for (let i = Math.max(0, latest(arrays.drain_starts, from)); i < arrays.drain_starts.length && arrays.drain_starts[i] <= to; i++)
          bar(arrays.drain_starts[i], arrays.drain_starts[i] + machine.drainRows(i) * machine.drain(i, "pace"), y, size, i % 2 ? colors.requantise : this.scale[64 + 20]);
      } else if (name === "memory") {
        const { live } = machine.activation, most = Math.max(1, live.most);
        context.fillStyle = colors.useful;
        for (let i = Math.max(0, latest(live.cycle, from)); i < live.cycle.length && live.cycle[i] <= to; i++) {
          const end = i + 1 < live.cycle.length ? live.cycle[i + 1] : about.end, tall = live.count[i] / most * (size - 2);
          context.fillRect(x(live.cycle[i]), y + size - tall, Math.max(0.7, x(end) - x(live.cycle[i])), tall);
        }
      } else {
        const starts = arrays[`link_${name}_start`], lengths = arrays[`link_${name}_length`];
        for (let i = 0; i < starts.length; i++) bar(starts[i], starts[i] + lengths[i], y, size, name === "in" ? colors.wait_in : colors.wait_out);
      }
      y += size + 3;
    }
    context.strokeStyle = colors.accent;
    context.lineWidth = 2;
    context.beginPath();
    for (const [at, a, b] of [[x(this.cycle), top - 3, height], [whole(this.cycle), 0, 11]]) { context.moveTo(at, a); context.lineTo(at, b); }
    context.stroke();
  }

  // What the reader does

  listen() {
    const actions = {
      "previous-layer": () => this.jump(this.layers.map((l) => l[0] + this.machine.lat.enter), -1),
      "next-layer": () => this.jump(this.layers.map((l) => l[0] + this.machine.lat.enter), 1),
      "previous-pass": () => this.jump(this.starts, -1), "next-pass": () => this.jump(this.starts, 1),
      back: () => this.goTo(this.cycle - 1), forward: () => this.goTo(this.cycle + 1),
      "zoom-in": () => this.zoom(0.5), "zoom-out": () => this.zoom(2),
      fit: () => this.setWindow(this.about.start - 20, this.about.end + 20),
    };
    document.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", actions[button.dataset.do]));
    byId("play").addEventListener("click", () => this.play(!this.playing));
    byId("speed").addEventListener("change", (event) => { this.rate = Number(event.target.value); });
    byId("cycle").addEventListener("change", (event) => {
      const value = parseInt(event.target.value.replace(/\D/g, ""), 10);
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
      t: () => this.setTheme(!this.dark), Home: () => this.goTo(this.about.start), End: () => this.goTo(this.about.finish),
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
      return overview ? share * this.about.end : from + share * (to - from);
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
