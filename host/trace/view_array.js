"use strict";
/* The array, and the card with details of the chosen element. */

class ArrayPanel extends Drawing {
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
        (vector.kind === "border" ? ", outside the image" : `, word ${vector.word}`);
  }

  /** Describe the origin of a byte that entered the array, as text. */
  originText(decided, lane) {
    const from = this.machine.origin(decided, lane);
    if (from.kind === "bubble") return "a bubble: nothing entered in that cycle";
    if (from.kind === "empty") return `word ${from.word}: never written`;
    if (from.kind === "border") return "outside the image: the pad value";
    const name = this.layerName(from.layer);
    if (from.kind === "filler") return `${name}, word ${from.word}: outside the image, the pad value as stored`;
    if (from.kind === "padding") return `${name}, word ${from.word}: padding after the last channel`;
    const image = this.about.batch * this.about.repeats > 1 ? `input ${from.image}, ` : "";
    return `${name}: ${image}line ${from.line}, column ${from.column}, channel ${from.channel} (${from.memory} word ${from.word})`;
  }

  drawCard() {
    const { machine } = this, { row, column } = this.selected, found = machine.element(row, column, this.cycle);
    const parts = [`<h2 id="card-title">Element (${row}, ${column})</h2>`,
      `<p class="equation">${found.operand} × ${found.weight} = ${count(found.product)}<small>multiplied in this cycle</small></p><dl>`];
    const item = (mark, name, value, text) => parts.push(`<dt>${mark}${name}<b>${value}</b></dt><dd>${text}</dd>`);
    const dot = (kind, value) => `<i class="${kind}" style="${kind === "triangle" ? "border-top-color" : "background"}:` +
      `var(--${value < 0 ? "negative" : "positive"})"></i>`;
    item(dot("disc", found.operand), found.windowed ? "sample" : "activation", found.operand, this.escape(this.originText(found.sampled, found.lane)));
    if (found.index < 0) item("<i></i>", "weight", found.weight, "no pass has begun");
    else {
      const layer = machine.label(found.index, "layer"), p = found.index % machine.passes;
      const tap = machine.tap(found.index), at = machine.resultPixel(found.index, 0, column), channel = at.channel;
      item(`<i style="background:${this.shade(found.weight, 127)}"></i>`, "weight", found.weight,
        `${this.escape(this.layerName(layer))}: tap ${this.escape(String(tap))}, input word ${machine.label(found.index, "word")}, byte ${row}, output channel ${channel}`);
      const k = found.kind === "bubble" ? -1 : found.decided - machine.issues[found.index];
      item("", "pass", count(p), k < 0 ? "all its pixels have passed" : `pixel ${k + 1} of ${machine.pass(found.index, "pixels")}`);
      if (k >= 0) {
        const number = machine.keptNumber(found.index, k);
        if (number < 0) item("", "result", "–", "no window begins here: the sum is dropped");
        else {
          const at = machine.resultPixel(found.index, number, column), held = machine.isHeld(found.index);
          const into = machine.pass(found.index, "row") + (held ? 0 : number);
          const of = at.outside ? "outside the image" : `line ${at.line}, column ${at.column}, channel ${channel}`;
          item("", "result", "", `${of}; accumulator row ${into} of bank ${machine.pass(found.index, "bank")}`);
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
  }
}
