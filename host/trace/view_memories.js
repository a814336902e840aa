"use strict";
/* The output stage, the accumulators and the memories. */

class MemoryPanels extends ArrayPanel {
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
    byId(`${id}-note`).textContent = `${plural(live, "word")} live, of ${count(memory.words)}`;
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
}
