"use strict";
/* Activation and residual memory: the value in every word, its origin, and how long it is in use. */

class MemoryModel extends ArrayModel {
  constructor(description, arrays) {
    super(description, arrays);
    this.activation = this.memory("ACTIVATION");
    this.residual = this.memory("RESIDUAL");
  }

  // Origins of values

  /** The channel at a byte (`lane`) of a word in the output stage's layout of results; -1 for padding. */
  channelAt(word, lane) {
    if (this.config.tiles_per_word > 1) return word * this.rows + lane;
    const each = this.config.words_per_pixel, column = (word % each) * this.rows + lane;
    return column < this.columns ? Math.floor(word / each) * this.columns + column : -1;
  }

  /** The origin of a byte of a vector: `kind` and, depending on it, memory, layer (-1 - k for input k), word, channel,
      image, line and column. */
  origin(decided, lane) {
    const vector = this.vector(decided);
    if (vector.kind === "bubble") return { kind: "bubble" };
    if (vector.kind === "border") return { kind: "border", index: vector.index, k: vector.k };
    const { index, word } = vector;
    if (!this.readsInput(index)) return { kind: "pixel", memory: "activation", ...this.owner(this.activation, word, lane, decided) };
    const number = this.about.input.tensors.findLastIndex((tensor) => tensor.base <= word), layer = -1 - number;
    const { shape, words, base } = this.about.input.tensors[number], pixel = Math.floor((word - base) / words);
    const channel = ((word - base) % words) * this.rows + lane;
    if (channel >= shape[2]) return { kind: "padding", memory: "input", layer, word };
    const at = this.locate(layer, pixel, channel);
    at.image += Math.floor(index / this.passes) * this.about.batch;
    return { kind: at.outside ? "filler" : "pixel", memory: "input", layer, word, ...at };
  }

  /** The origin of a byte of the activation or residual memory in a cycle. */
  owner(memory, word, lane, cycle) {
    const i = this.instance(memory, word, lane, cycle);
    if (i < 0) return { kind: "empty", word };
    const drain = memory.drain[i], row = memory.row[i], pixels = this.drain(drain, "pixels");
    const tile = this.write(drain, "tile") + Math.floor(row / pixels), layer = this.write(drain, "layer");
    const column = this.config.tiles_per_word > 1 ? lane % this.columns : memory.part[i] * this.rows + lane;
    const channel = tile * this.columns + column;
    const at = this.locate(layer, this.write(drain, "pixel") + (row % pixels), channel);
    at.image += Math.floor(drain / this.drains) * this.about.batch;
    const real = column < this.columns && channel < this.stored(layer)[2];
    const kind = !real ? "padding" : at.outside ? "filler" : "pixel";
    return { kind, layer, word, written: memory.cycle[i], drain, until: memory.until[i], ...at };
  }

  // Contents of the memories

  /** All values that a memory holds in the run: the drain that writes each, the cycle of the write and of the last read. */
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

  /** The number of intervals that contain a cycle, as a step function: `count[i]` from `cycle[i]` on. */
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

  /** The index of the value in a byte (`lane`) of a word in a cycle, which is the last one written; -1 if none was. */
  instance(memory, word, lane, cycle) {
    const key = word * memory.lanes + (memory.lanes > 1 ? Math.floor(lane / this.columns) : 0);
    const at = latest(memory.cycle, cycle, memory.first[key], memory.first[key + 1]);
    return at >= memory.first[key] ? at : -1;
  }

  /** Copy the bytes of a word, after the writes of a cycle, to `values`. */
  readActivation(word, cycle, values) {
    for (let lane = 0; lane < this.rows; lane++) {
      const i = this.instance(this.activation, word, lane, cycle);
      if (i < 0) continue;
      const column = this.config.tiles_per_word > 1 ? lane % this.columns : this.activation.part[i] * this.rows + lane;
      if (column < this.columns) values[lane] = this.result(this.activation.drain[i], this.activation.row[i], column);
    }
  }
}
