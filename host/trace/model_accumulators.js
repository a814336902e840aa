"use strict";
/* Accumulators: folds and reads of every row. `Machine` is the complete model. */

class Machine extends MemoryModel {
  constructor(description, arrays) {
    super(description, arrays);
    this.accumulators = this.foldEvents();
  }

  /** All folds into and reads from accumulator rows, ordered by row and by the first cycle that shows their effect. */
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
          // A row stays in use if a drain folds it back into itself.
          if (start >= 0 && last >= 0 && events.kind[i] !== 2) { from.push(start); until.push(last); start = -1; }
          if (start < 0) start = events.cycle[i];
        }
        last = -1;
      }
      if (start >= 0) { from.push(start); until.push(last < 0 ? this.about.cycles - 1 : last); }
    }
    return this.occupancy(from, until);
  }

  /** State of an accumulator row in a cycle: `folds` of the `of` folds before its read are done; `state` names the phase. */
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
    // A drain that folds rows back into its own bank sets them again after the read.
    const again = more < end && events.kind[more] === 2;
    const state = pending || folds < of || again ? (folds < of ? "filling" : "complete") : reads ? "read" : "complete";
    return { state, folds, of, at: last, begin };
  }

  /** The sum over all rows of one column for pixel k of a pass, which goes to the accumulators. */
  fullSum(index, k, column) { return this.partial(this.issues[index] + k, this.rows - 1, column); }

  /** The value of one column of an accumulator row in a cycle. */
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
