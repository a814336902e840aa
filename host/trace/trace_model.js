"use strict";
/* The machine in any cycle, in closed form: nothing is stepped, every state follows from the events of the run.

   Cycles are counted since reset. The decision to issue a pixel is made in some cycle d; the pixel enters element (r, c)
   in cycle d + latencies.enter + r + c, and its partial sum leaves that element latencies.element cycles later. Passes
   are numbered over all repeats: pass `index` is pass index % passes of the program. Enumerations, latencies, and what
   passes and drains touch come from etchnet.host.trace.page_data. */

const CACHED_VECTORS = 8192;

/** The last index whose value is at most `value`, or -1: `sorted` ascends between `low` and `high`. */
function latest(sorted, value, low = 0, high = sorted.length) {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Events by key, each key's in the order of their cycles: `first[key]` to `first[key + 1]` in `order`. */
function grouped(keys, cycles, count) {
  const first = new Int32Array(count + 1);
  for (const key of keys) first[key + 1]++;
  for (let key = 0; key < count; key++) first[key + 1] += first[key];
  const next = first.slice(), order = new Int32Array(keys.length);
  let sorted = true;
  for (let i = 0; i < keys.length; i++) order[next[keys[i]]++] = i;
  for (let key = 0; key < count && sorted; key++)
    for (let i = first[key] + 1; i < first[key + 1]; i++) if (cycles[order[i]] < cycles[order[i - 1]]) sorted = false;
  if (!sorted)
    for (let key = 0; key < count; key++)
      order.subarray(first[key], first[key + 1]).sort((a, b) => cycles[a] - cycles[b] || a - b);
  return { first, order, cycle: Int32Array.from(order, (i) => cycles[i]) };
}

class Machine {
  constructor(description, arrays) {
    this.about = description;
    this.arrays = arrays;
    this.config = description.config;
    this.rows = this.config.rows;
    this.columns = this.config.columns;
    this.lat = description.latencies;
    this.enums = description.enums;
    this.passes = arrays.pass_pixels.length;
    this.drains = arrays.drain_pixels.length;
    this.repeats = description.repeats;
    this.issues = arrays.issues;
    this.vectors = new Map();
    this.sums = new Map();
    this.windows = this.lastWindows();
    this.resultsAt = this.placeResults();
    this.activation = this.memory("ACTIVATION");
    this.residual = this.memory("RESIDUAL");
    this.accumulators = this.foldEvents();
  }

  // Passes and pixels

  pass(index, field) { return this.arrays["pass_" + field][index % this.passes]; }
  label(index, field) { return this.arrays["label_" + field][index % this.passes]; }
  tap(index) { return this.about.taps[this.label(index, "tap")]; }
  drain(number, field) { return this.arrays["drain_" + field][number % this.drains]; }
  write(number, field) { return this.arrays["write_" + field][number % this.drains]; }
  slot(index) { return this.pass(index, "slots"); }
  isDepthwise(index) { return this.pass(index, "kind") === this.enums.TileKind.DEPTHWISE; }
  isHeld(index) { return this.pass(index, "hold") !== this.enums.Fold.SET; }
  readsInput(index) { return this.pass(index, "source") === this.enums.Source.INPUT; }

  /** The pass whose weights meet what is decided on in cycle `decided`: the last that was issued; -1 before the first. */
  passAt(decided) { return latest(this.issues, decided); }

  /** For each pass, the last depthwise one up to it, or -1: that one sets the delay of the line buffers. */
  lastWindows() {
    const found = new Int32Array(this.issues.length);
    for (let i = 0, last = -1; i < found.length; i++) {
      if (this.isDepthwise(i)) last = i;
      found[i] = last;
    }
    return found;
  }

  /** The word that pixel `k` of a pass is read from, or null for a pixel outside of the image. */
  walked(index, k) {
    const word = this.arrays.walk_words[this.arrays.walk_start[this.pass(index, "walk")] + k];
    return word === this.about.not_read ? null : this.pass(index, "address") + word;
  }

  /** What a decision in one cycle makes enter the array: `kind` is pixel, border or bubble; `values` is int8 per row. */
  vector(decided) {
    let found = this.vectors.get(decided);
    if (found) return found;
    const index = decided < 0 ? -1 : this.passAt(decided), k = index < 0 ? 0 : decided - this.issues[index];
    if (index < 0 || k >= this.pass(index, "pixels")) {
      found = { kind: "bubble", index, k: -1, word: null, values: this.zeros || (this.zeros = new Int8Array(this.rows)) };
    } else {
      const word = this.walked(index, k);
      const values = new Int8Array(this.rows);
      if (word === null) values.fill(this.pass(index, "pad"));
      else if (this.readsInput(index)) {
        const at = (Math.floor(index / this.passes) * this.about.input.size + word) * this.rows;
        values.set(this.arrays.inputs.subarray(at, at + this.rows));
      } else this.readActivation(word, decided, values);
      found = { kind: word === null ? "border" : "pixel", index, k, word, values };
    }
    if (this.vectors.size > CACHED_VECTORS) this.vectors.clear();
    this.vectors.set(decided, found);
    return found;
  }

  /** Whether elements of window rows multiply samples of the vector's pass. */
  isWindowed(vector) { return vector.kind !== "bubble" && this.isDepthwise(vector.index); }

  /** The cycle whose decision brought the sample that row `row`, column `column` multiplies with this windowed vector. */
  sampled(decided, row, column) {
    const taps = this.config.depthwise, newest = decided + row - this.lat.sample, back = taps - 1 - Math.floor(row / taps);
    if (!back) return newest;
    const at = this.passAt(decided + row + column - this.lat.line_delay), window = at < 0 ? -1 : this.windows[at];
    // `line_age` begins with the delay before any depthwise pass.
    const delays = window < 0 ? 0 : 1 + window % this.passes;
    return newest - this.arrays.line_age[delays * (taps - 1) + back - 1];
  }

  /** The cycle of the decision that element (row, column) multiplies for a vector, and the byte of it: its operand. */
  operandAt(decided, row, column) {
    const taps = this.config.depthwise;
    if (taps && row < taps * taps && this.isWindowed(this.vector(decided)))
      return { decided: this.sampled(decided, row, column), lane: column, windowed: true };
    return { decided, lane: row, windowed: false };
  }

  operand(decided, row, column) {
    const at = this.operandAt(decided, row, column);
    return this.vector(at.decided).values[at.lane];
  }

  weight(index, row, column) {
    if (index < 0) return 0;
    const held = this.arrays.pass_held[index % this.passes];
    return this.arrays.tiles[(held * this.rows + row) * this.columns + column];
  }

  /** A vector's sum over rows 0 to `row`, in one column. */
  partial(decided, row, column) {
    const index = decided < 0 ? -1 : this.passAt(decided);
    if (index < 0) return 0;
    const vector = this.vector(decided);
    if (vector.kind === "bubble") return 0;
    let sum = 0;
    if (!this.isWindowed(vector)) {
      const base = this.arrays.pass_held[index % this.passes] * this.rows * this.columns + column;
      for (let r = 0; r <= row; r++) sum += vector.values[r] * this.arrays.tiles[base + r * this.columns];
    } else for (let r = 0; r <= row; r++) sum += this.operand(decided, r, column) * this.weight(index, r, column);
    return sum;
  }

  /** Element (row, column) in a cycle: what it multiplies, and the sum in its register. */
  element(row, column, cycle) {
    const decided = cycle - this.lat.enter - row - column, vector = this.vector(decided);
    const index = decided < 0 ? -1 : this.passAt(decided), at = this.operandAt(decided, row, column);
    const activation = vector.values[row], operand = this.vector(at.decided).values[at.lane];
    const weight = this.weight(index, row, column), summed = decided - this.lat.element;
    return {
      activation, operand, weight, product: operand * weight, sum: this.partial(summed, row, column),
      above: row ? this.partial(summed, row - 1, column) : 0,
      decided, summed, index, kind: vector.kind, windowed: at.windowed, sampled: at.decided, lane: at.lane,
    };
  }

  /** All elements in a cycle, row by row. */
  frame(cycle) {
    const { rows, columns, lat } = this, size = rows * columns;
    const frame = {
      activations: new Int8Array(size), operands: new Int8Array(size), weights: new Int8Array(size),
      sums: new Int32Array(size), passes: new Int32Array(size), kinds: new Uint8Array(size),
      summing: new Uint8Array(size),
    };
    const taps = (this.config.depthwise || 0) ** 2, tiles = this.arrays.tiles;
    for (let s = 0; s < rows + columns - 1; s++) {
      const decided = cycle - lat.enter - s, vector = this.vector(decided), windowed = this.isWindowed(vector);
      const index = decided < 0 ? -1 : this.passAt(decided);
      const base = index < 0 ? -1 : this.arrays.pass_held[index % this.passes] * size;
      const summed = decided - lat.element, source = this.vector(summed);
      const sumIndex = summed < 0 ? -1 : this.passAt(summed), sumWindowed = this.isWindowed(source);
      const sumBase = sumIndex < 0 ? -1 : this.arrays.pass_held[sumIndex % this.passes] * size;
      const kind = vector.kind === "bubble" ? 0 : vector.kind === "border" ? 1 : 2;
      for (let r = Math.max(0, s - columns + 1); r <= Math.min(rows - 1, s); r++) {
        const c = s - r, i = r * columns + c;
        frame.kinds[i] = kind;
        frame.passes[i] = index;
        frame.activations[i] = vector.values[r];
        frame.operands[i] = windowed && r < taps ? this.operand(decided, r, c) : vector.values[r];
        frame.weights[i] = base < 0 ? 0 : tiles[base + i];
        if (source.kind === "bubble" || sumBase < 0) continue;
        frame.summing[i] = 1;
        let sum = 0;
        if (sumWindowed) sum = this.partial(summed, r, c);
        else for (let k = 0, at = sumBase + c; k <= r; k++, at += columns) sum += source.values[k] * tiles[at];
        frame.sums[i] = sum;
      }
    }
    return frame;
  }

  // Which sums are kept, and what they become

  /** Pixels of a pass whose sums are kept, in order. */
  kept(index) {
    const number = this.pass(index, "kept"), first = this.arrays.kept_start;
    return this.arrays.kept_pixels.subarray(first[number], first[number + 1]);
  }

  keptCount(index) { return this.kept(index).length; }

  /** The number of a pixel's sum among the kept ones of its pass, or -1. */
  keptNumber(index, k) {
    const kept = this.kept(index), at = latest(kept, k);
    return at >= 0 && kept[at] === k ? at : -1;
  }

  /** The pixel of the layer's result that kept sum `number` of a pass is for: {image, line, column}. */
  resultPixel(index, number) {
    const shape = this.about.layers[this.label(index, "layer")].shape, first = this.label(index, "pixel");
    const each = this.arrays.kept_columns[this.pass(index, "kept")];
    const after = this.isHeld(index) ? 0 : Math.floor(number / each) * shape[1] + (number % each);
    return this.place(first + after, shape);
  }

  place(pixel, shape) {
    const image = Math.floor(pixel / (shape[0] * shape[1])), rest = pixel % (shape[0] * shape[1]);
    return { image, line: Math.floor(rest / shape[1]), column: rest % shape[1] };
  }

  // Where values come from

  /** The channel at a byte of a result's word, by how the output stage writes results; -1 for padding. */
  channelAt(word, lane) {
    if (this.config.tiles_per_word > 1) return word * this.rows + lane;
    const each = this.config.words_per_pixel, column = (word % each) * this.rows + lane;
    return column < this.columns ? Math.floor(word / each) * this.columns + column : -1;
  }

  /** The tap and channel that a channel of a packed input stands for. */
  unpacked(channel) {
    const { name, kernel, channels } = this.about.packing, tap = Math.floor(channel / channels);
    if (name === "row") return { tap: [null, tap], channel: channel % channels };
    return { tap: [Math.floor(tap / kernel[1]), tap % kernel[1]], channel: channel % channels };
  }

  /** Where a byte of a vector comes from: {layer (-1: the input), channel, image, line, column, word, border}. */
  origin(decided, lane) {
    const vector = this.vector(decided);
    if (vector.kind === "bubble") return { kind: "bubble" };
    if (vector.kind === "border") return { kind: "border", index: vector.index, k: vector.k };
    const { index, word } = vector;
    if (!this.readsInput(index)) return { kind: "pixel", memory: "activation", ...this.owner(this.activation, word, lane, decided) };
    const { shape, words } = this.about.input, pixel = Math.floor(word / words);
    let channel = (word % words) * this.rows + lane, at = this.place(pixel, shape), tap = null;
    if (channel >= shape[2]) return { kind: "padding", memory: "input", layer: -1, word };
    const packing = this.about.packing;
    if (packing.name !== "none") {
      ({ tap, channel } = this.unpacked(channel));
      const line = packing.name === "row" ? at.line
        : at.line * packing.stride[0] + tap[0] * packing.dilation[0] - packing.before[0];
      const column = at.column * packing.stride[1] + tap[1] * packing.dilation[1] - packing.before[1];
      const outside = line < 0 || column < 0 || line >= packing.size[0] || column >= packing.size[1];
      at = { image: at.image, line, column };
      if (outside) return { kind: "border", memory: "input", layer: -1, word, tap, channel, packed: true, ...at };
    }
    const image = at.image + Math.floor(index / this.passes) * this.about.batch;
    return { kind: "pixel", memory: "input", layer: -1, word, channel, tap, ...at, image };
  }

  /** What a word of the activation or residual memory held in a cycle, by who wrote it. */
  owner(memory, word, lane, cycle) {
    const i = this.instance(memory, word, lane, cycle);
    if (i < 0) return { kind: "empty", word };
    const drain = memory.drain[i], row = memory.row[i], pixels = this.drain(drain, "pixels");
    const tile = this.write(drain, "tile") + Math.floor(row / pixels), layer = this.write(drain, "layer");
    const column = this.config.tiles_per_word > 1 ? lane % this.columns : memory.part[i] * this.rows + lane;
    const channel = tile * this.columns + column;
    const at = this.place(this.write(drain, "pixel") + (row % pixels), this.about.layers[layer].shape);
    at.image += Math.floor(drain / this.drains) * this.about.batch;
    const real = column < this.columns && channel < this.about.layers[layer].shape[2];
    return { kind: real ? "pixel" : "padding", layer, channel, word, written: memory.cycle[i], drain, until: memory.until[i], ...at };
  }

  // Drains

  /** Where each drain's results begin, in int8 or in int32; they are the same distance apart in every repeat. */
  placeResults() {
    const starts = new Int32Array(this.drains), sizes = [0, 0];
    for (let d = 0; d < this.drains; d++) {
      const wide = this.arrays.drain_is_wide[d];
      starts[d] = sizes[wide];
      sizes[wide] += this.drainRows(d) * this.columns;
    }
    return { starts, sizes };
  }

  drainRows(number) { return this.drain(number, "rows"); }
  drainsTo(number, destination) { return this.drain(number, "destination") === this.enums.Destination[destination]; }

  result(number, row, column) {
    const d = number % this.drains, wide = this.arrays.drain_is_wide[d];
    const from = wide ? this.arrays.results_wide : this.arrays.results_narrow;
    return from[Math.floor(number / this.drains) * this.resultsAt.sizes[wide] + this.resultsAt.starts[d] + row * this.columns + column];
  }

  /** The cycle in which a drain reads the first group of a row. */
  readCycle(number, row) { return this.arrays.drain_starts[number] + row * this.drain(number, "pace"); }

  /** The cycle in which the first word of a row's results is written. */
  writeCycle(number, row) { return this.readCycle(number, row) + this.config.groups - 1 + this.lat.result; }

  /** The word, or accumulator row, that a row of a drain is written to. */
  target(number, row) { return this.arrays.target_words[this.arrays.target_start[number % this.drains] + row]; }

  /** What the output stage does in a cycle: {number, row} being read, and being written; null for neither. */
  outputStage(cycle) {
    const at = latest(this.arrays.drain_starts, cycle);
    const within = (number, offset) => {
      const since = cycle - offset - this.arrays.drain_starts[number], row = Math.floor(since / this.drain(number, "pace"));
      return since >= 0 && row < this.drainRows(number) && since % this.drain(number, "pace") < this.drain(number, "span") ? { number, row } : null;
    };
    const offset = this.config.groups - 1 + this.lat.result;
    const writer = latest(this.arrays.drain_starts, cycle - offset);
    return { reading: at < 0 ? null : within(at, 0), writing: writer < 0 ? null : within(writer, offset) };
  }

  // The activation and the residual memory

  /** Every value that a memory holds over the run: who wrote it, when, and in which cycle it is read for the last time. */
  memory(destination) {
    const words = [], cycle = [], drain = [], row = [], part = [], lanes = this.config.tiles_per_word;
    const split = destination === "ACTIVATION" ? this.config.words_per_pixel : 1;
    for (let number = 0; number < this.drains * this.repeats; number++) {
      if (!this.drainsTo(number, destination)) continue;
      for (let i = 0; i < this.drainRows(number); i++) {
        const tile = Math.floor(i / this.drain(number, "pixels"));
        const lane = (this.drain(number, "lane") + tile) % lanes;
        for (let w = 0; w < split; w++) {
          words.push((this.target(number, i) + w) * lanes + lane);
          cycle.push(this.writeCycle(number, i) + w);
          drain.push(number); row.push(i); part.push(w);
        }
      }
    }
    const size = (destination === "ACTIVATION" ? this.config.activation_words : this.config.residual_words || 0) * lanes;
    const memory = grouped(words, cycle, size);
    for (const [name, values] of [["drain", drain], ["row", row], ["part", part]])
      memory[name] = Int32Array.from(memory.order, (i) => values[i]);
    memory.until = memory.cycle.slice();
    memory.lanes = lanes;
    memory.words = size / lanes;
    const next = memory.first.slice();
    const read = (word, when) => {
      for (let key = word * lanes; key < (word + 1) * lanes; key++) {
        while (next[key] < memory.first[key + 1] && memory.cycle[next[key]] < when) next[key]++;
        if (next[key] > memory.first[key]) memory.until[next[key] - 1] = Math.max(memory.until[next[key] - 1], when);
      }
    };
    if (destination === "ACTIVATION") {
      for (let index = 0; index < this.issues.length; index++) {
        if (this.readsInput(index)) continue;
        for (let k = 0; k < this.pass(index, "pixels"); k++) {
          const word = this.walked(index, k);
          if (word !== null) read(word, this.issues[index] + k + this.lat.read);
        }
      }
    } else {
      for (let number = 0; number < this.drains * this.repeats; number++)
        if (this.drain(number, "residual"))
          for (let i = 0; i < this.drainRows(number); i++) read(this.drain(number, "row") + i, this.readCycle(number, i));
    }
    memory.live = this.occupancy(memory.cycle, memory.until, lanes);
    return memory;
  }

  /** How many of some intervals hold a cycle, as steps: `count[i]` from `cycle[i]` on. */
  occupancy(from, until, divisor = 1) {
    const starts = Int32Array.from(from).sort(), ends = Int32Array.from(until).sort();
    const cycle = [], count = [];
    let live = 0, i = 0, j = 0;
    while (i < starts.length || j < ends.length) {
      const now = Math.min(i < starts.length ? starts[i] : Infinity, j < ends.length ? ends[j] : Infinity);
      while (i < starts.length && starts[i] === now) { live++; i++; }
      while (j < ends.length && ends[j] === now) { live--; j++; }
      cycle.push(now + 1); count.push(live / divisor);
    }
    return { cycle: Int32Array.from(cycle), count: Float32Array.from(count), most: count.reduce((a, b) => Math.max(a, b), 0) };
  }

  /** The value of a word's lane in a cycle, as an index, or -1: the last that was written before. */
  instance(memory, word, lane, cycle) {
    const key = word * memory.lanes + (memory.lanes > 1 ? Math.floor(lane / this.columns) : 0);
    const at = latest(memory.cycle, cycle, memory.first[key], memory.first[key + 1]);
    return at >= memory.first[key] ? at : -1;
  }

  /** The bytes of a word that is read after a cycle's writes. */
  readActivation(word, cycle, values) {
    for (let lane = 0; lane < this.rows; lane++) {
      const i = this.instance(this.activation, word, lane, cycle);
      if (i < 0) continue;
      const column = this.config.tiles_per_word > 1 ? lane % this.columns : this.activation.part[i] * this.rows + lane;
      if (column < this.columns) values[lane] = this.result(this.activation.drain[i], this.activation.row[i], column);
    }
  }

  // Accumulators

  /** Every fold into, and read from, every accumulator row, by the cycle from which it shows. */
  foldEvents() {
    const size = this.config.accumulator_rows, keys = [], cycles = [], kinds = [], refs = [], rows = [], folds = [];
    const put = (bank, row, cycle, kind, ref, at, fold) => {
      keys.push(bank * size + row); cycles.push(cycle); kinds.push(kind); refs.push(ref); rows.push(at); folds.push(fold);
    };
    for (let index = 0; index < this.issues.length; index++) {
      const bank = this.pass(index, "bank"), row = this.pass(index, "row"), hold = this.pass(index, "hold");
      const fold = this.pass(index, "fold"), held = this.isHeld(index), kept = this.kept(index);
      for (let i = 0; i < kept.length; i++) {
        const k = kept[i];
        put(bank, held ? row : row + i, this.issues[index] + k + this.lat.fold, 0, index, k, held && i ? hold : fold);
      }
    }
    for (let number = 0; number < this.drains * this.repeats; number++) {
      const into = this.drainsTo(number, "ACCUMULATORS"), residual = this.drain(number, "residual");
      for (let i = 0; i < this.drainRows(number); i++) {
        const read = this.readCycle(number, i) + this.config.groups - 1;
        if (!residual) put(this.drain(number, "bank"), this.drain(number, "row") + i, read, 1, number, i, 0);
        if (into) put(this.drain(number, "into"), this.target(number, i), read + this.lat.feedback, 2, number, i, this.drain(number, "fold"));
      }
    }
    const events = grouped(keys, cycles, 2 * size);
    for (const [name, values] of [["kind", kinds], ["ref", refs], ["at", rows], ["fold", folds]])
      events[name] = Int32Array.from(events.order, (i) => values[i]);
    events.live = [0, 1].map((bank) => this.accumulatorOccupancy(events, bank));
    return events;
  }

  accumulatorOccupancy(events, bank) {
    const size = this.config.accumulator_rows, from = [], until = [];
    for (let key = bank * size; key < (bank + 1) * size; key++) {
      let start = -1, last = -1;
      for (let i = events.first[key]; i < events.first[key + 1]; i++) {
        if (events.kind[i] === 1) { last = events.cycle[i]; continue; }
        if (events.fold[i] === this.enums.Fold.SET) {
          // A row that is set again after its own read, in place, stays in use.
          if (start >= 0 && last >= 0 && events.kind[i] !== 2) { from.push(start); until.push(last); start = -1; }
          if (start < 0) start = events.cycle[i];
        }
        last = -1;
      }
      if (start >= 0) { from.push(start); until.push(last < 0 ? this.about.finish : last); }
    }
    return this.occupancy(from, until);
  }

  /** An accumulator row in a cycle: how many folds it holds of how many before it is read, and whether it was read. */
  accumulator(bank, row, cycle) {
    const events = this.accumulators, key = bank * this.config.accumulator_rows + row;
    const first = events.first[key], end = events.first[key + 1], at = latest(events.cycle, cycle, first, end);
    if (at < first) return { state: "empty", folds: 0, of: 0, at: -1 };
    let last = at;
    while (last >= first && events.kind[last] === 1) last--;
    if (last < first) return { state: "empty", folds: 0, of: 0, at: -1 };
    let begin = last;
    while (begin > first && events.fold[begin] !== this.enums.Fold.SET) begin--;
    let more = at + 1, of = 0;
    while (more < end && (events.kind[more] === 1 || events.fold[more] !== this.enums.Fold.SET)) more++;
    let folds = 0, reads = 0, pending = false;
    for (let i = begin; i < more; i++) {
      if (events.kind[i] === 1) { if (i > at) pending = true; else reads++; continue; }
      of++;
      if (i <= at) folds++;
    }
    // Rows that a drain folds back into its own bank are set again after the read.
    const again = more < end && events.kind[more] === 2;
    const state = pending || folds < of || again ? (folds < of ? "filling" : "complete") : reads ? "read" : "complete";
    return { state, folds, of, at: last, begin };
  }

  /** The sum of a pass's pixel that reaches the accumulators, in one column. */
  fullSum(index, k, column) { return this.partial(this.issues[index] + k, this.rows - 1, column); }

  /** The value of an accumulator row's column in a cycle. */
  accumulatorValue(bank, row, column, cycle) {
    const { at, begin } = this.accumulator(bank, row, cycle), events = this.accumulators;
    if (at < 0) return 0;
    let value = 0;
    for (let i = begin; i <= at; i++) {
      if (events.kind[i] === 1) continue;
      const next = events.kind[i] === 0 ? this.fullSum(events.ref[i], events.at[i], column) : this.result(events.ref[i], events.at[i], column);
      value = events.fold[i] === this.enums.Fold.SET ? next : events.fold[i] === this.enums.Fold.ADD ? (value + next) | 0 : Math.max(value, next);
    }
    return value;
  }
}

if (typeof module !== "undefined") module.exports = { Machine, latest };
