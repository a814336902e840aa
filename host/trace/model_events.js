"use strict";
/* Closed-form model of the machine: the state in any cycle is computed from the events of the run, without stepping.

   The run's first cycle is 0; what is loaded before it has negative cycles. A pixel that is issued by a decision in
   cycle d enters element (r, c) in cycle d + latencies.enter + r + c, and its partial sum leaves that element
   latencies.element cycles later. Passes are numbered over all repeats: pass `index` is pass index % passes of the
   program. Enumerations, latencies, and the words and rows of passes and drains come from
   etchnet.host.trace.page_data. */

/** The last index from `low` to `high` - 1 whose value is at most `value`, or `low` - 1; `sorted` must ascend there. */
function latest(sorted, value, low = 0, high = sorted.length) {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Group events by key and order each group by cycle: `order[first[key]]` to `order[first[key + 1] - 1]` are its events. */
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

/** Passes and drains by number, and the words and rows that they touch. */
class Events {
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
    this.resultsAt = this.placeResults();
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

  /** The pass whose weights multiply the vector of a decision: the last one issued by then; -1 before the first. */
  passAt(decided) { return latest(this.issues, decided); }

  /** For each pass, the last depthwise pass up to and including it, which sets the line buffers' delay, or -1. */
  lastWindows() {
    const found = new Int32Array(this.issues.length);
    for (let i = 0, last = -1; i < found.length; i++) {
      if (this.isDepthwise(i)) last = i;
      found[i] = last;
    }
    return found;
  }

  /** The word from which pixel `k` of a pass is read, or null for a pixel outside the image. */
  walked(index, k) {
    const word = this.arrays.walk_words[this.arrays.walk_start[this.pass(index, "walk")] + k];
    return word === this.about.not_read ? null : this.pass(index, "address") + word;
  }

  // Kept sums

  /** The pixels of a pass whose sums are kept, in order. */
  kept(index) {
    const number = this.pass(index, "kept"), first = this.arrays.kept_start;
    return this.arrays.kept_pixels.subarray(first[number], first[number + 1]);
  }

  /** The index of a pixel's sum among the kept sums of its pass, or -1 if it is dropped. */
  keptNumber(index, k) {
    const kept = this.kept(index), at = latest(kept, k);
    return at >= 0 && kept[at] === k ? at : -1;
  }

  /** What kept sum `number` of a pass belongs to in a column of the array: {image, line, column, channel, outside}. */
  resultPixel(index, number, column) {
    const layer = this.label(index, "layer"), width = this.stored(layer)[1];
    const each = this.arrays.kept_columns[this.pass(index, "kept")];
    const after = this.isHeld(index) ? 0 : Math.floor(number / each) * width + (number % each);
    return this.locate(layer, this.label(index, "pixel") + after, this.label(index, "tile") * this.columns + column);
  }

  /** The shape of the stored pixels of a layer's result. */
  stored(layer) { return (this.about.arrangements[layer] || { stored: this.about.layers[layer].shape }).stored; }

  /** The image pixel and channel that a channel of a stored pixel holds, for a layer's result or (-1 - k) input k. */
  locate(layer, pixel, channel) {
    const arranged = this.about.arrangements[layer];
    if (!arranged) {
      const shape = layer < 0 ? this.about.input.tensors[-1 - layer].shape : this.stored(layer);
      return { ...this.place(pixel, shape), channel, outside: false };
    }
    const at = this.place(pixel, arranged.stored), { lines, columns, size } = arranged, member = Math.floor(channel / size[2]);
    const line = lines.step * at.line + lines.offsets[Math.floor(member / columns.offsets.length)];
    const column = columns.step * at.column + columns.offsets[member % columns.offsets.length];
    const outside = !(line >= 0 && line < size[0] && column >= 0 && column < size[1]);
    return { image: at.image, line, column, channel: channel % size[2], outside };
  }

  place(pixel, shape) {
    const image = Math.floor(pixel / (shape[0] * shape[1])), rest = pixel % (shape[0] * shape[1]);
    return { image, line: Math.floor(rest / shape[1]), column: rest % shape[1] };
  }

  // Drains

  /** The offset of each drain's results in the int8 or int32 array, and the size of one repeat in both arrays. */
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

  /** The word, or accumulator row, to which a row of a drain is written. */
  target(number, row) { return this.arrays.target_words[this.arrays.target_start[number % this.drains] + row]; }

  /** The rows that the output stage reads and writes in a cycle, each as {number of the drain, row} or null. */
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
}
