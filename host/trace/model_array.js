"use strict";
/* The array: vectors that enter it, and the operands, weights and sums of its elements. A subclass supplies
   `readActivation`, which reads vectors from the activation memory. */

const CACHED_VECTORS = 8192;

class ArrayModel extends Events {
  constructor(description, arrays) {
    super(description, arrays);
    this.vectors = new Map();
    this.windows = this.lastWindows();
  }

  /** The vector that the decision in cycle `decided` sends into the array: `kind` (pixel, border or bubble) and `values`
      (one int8 per row). */
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

  /** Whether the vector belongs to a depthwise pass, whose window rows multiply samples from the line buffers. */
  isWindowed(vector) { return vector.kind !== "bubble" && this.isDepthwise(vector.index); }

  /** The cycle of the decision that sent the sample which element (row, column) multiplies for a windowed vector. */
  sampled(decided, row, column) {
    const taps = this.config.depthwise, newest = decided + row - this.lat.sample, back = taps - 1 - Math.floor(row / taps);
    if (!back) return newest;
    const at = this.passAt(decided + row + column - this.lat.line_delay), window = at < 0 ? -1 : this.windows[at];
    // `line_age` begins with the delay before any depthwise pass.
    const delays = window < 0 ? 0 : 1 + window % this.passes;
    return newest - this.arrays.line_age[delays * (taps - 1) + back - 1];
  }

  /** The operand of element (row, column) for a vector: the cycle of the decision that sent it, and its byte (`lane`). */
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

  /** The partial sum of a vector over rows 0 to `row`, in one column. */
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

  /** State of element (row, column) in a cycle: its operands, its product, and the sum in its register. */
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

  /** State of all elements in a cycle, as arrays in row-major order. */
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
}
