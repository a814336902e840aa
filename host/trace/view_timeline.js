"use strict";
/* The timeline: an overview of the whole trace, and lanes that show the current window. */

const LANES = [["layers", 15], ["cycles", 16], ["drains", 9], ["in", 6], ["out", 6], ["memory", 22]];

class TimelinePanel extends MemoryPanels {
  /** Series of consecutive passes of one layer: [from, to, layer]. */
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

  where() {
    const { machine, about, cycle } = this, index = machine.passAt(cycle - machine.lat.enter);
    const segment = latest(machine.arrays.segment_start, cycle);
    const inside = segment >= 0 && cycle < machine.arrays.segment_start[segment] + machine.arrays.segment_length[segment];
    const spent = inside ? about.classes[machine.arrays.segment_class[segment]].replace("_", " ") : cycle < 0 ? "before the run" : "after the run";
    return index < 0 ? spent : `${spent} · ${this.layerName(machine.label(index, "layer"))} · pass ${index % machine.passes}`;
  }

  drawTimeline() {
    const { machine, colors, about } = this, arrays = machine.arrays, [from, to] = this.window;
    const top = 16, height = top + LANES.reduce((sum, [, size]) => sum + size + 3, 0) + 2;
    const { context, width } = this.canvas("timeline", height);
    const x = (cycle) => (cycle - from) / (to - from) * width, whole = (cycle) => (cycle - about.reset) / (about.end - about.reset) * width;
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
    // Overview of the whole trace, with a frame around the window.
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
}
