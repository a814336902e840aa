"use strict";
/* Colours, canvases and names for all panels. All values come from `Machine`; the view's own state is the cycle, the
   window, the chosen element and the mode. */

const byId = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en").format;
const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const CLASS_NAMES = { useful: "useful", padding: "padding", weight_load: "weight load", requantise: "requantise",
  fill_drain: "fill & drain", wait_in: "wait for link in", wait_out: "wait for link out" };
const DESTINATIONS = { ACTIVATION: "activation memory", OUTPUT: "output memory", ACCUMULATORS: "accumulators", RESIDUAL: "residual memory" };

class Drawing {
  constructor(machine) {
    this.machine = machine;
    this.about = machine.about;
    this.readColors();
  }

  readColors() {
    const style = getComputedStyle(document.documentElement), get = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colors = Object.fromEntries(["page", "panel", "sunken", "ink", "muted", "line", "accent", "strong", "positive", "negative",
      "neutral", ...Object.keys(CLASS_NAMES)].map((name) => [name, get(name)]));
    const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    const [negative, neutral, positive] = ["negative", "neutral", "positive"].map((name) => channels(this.colors[name]));
    // Colours for values from -1 to 1, in 64 steps on each side of 0.
    this.scale = Array.from({ length: 129 }, (_, i) => {
      const t = (i - 64) / 64, end = t < 0 ? negative : positive, share = Math.abs(t) ** 0.8;
      return `rgb(${neutral.map((n, k) => Math.round(n + (end[k] - n) * share)).join(" ")})`;
    });
    this.dark = channels(this.colors.page)[0] < 128;
  }

  shade(value, most) { return this.scale[Math.round(clamp(value / most, -1, 1) * 64) + 64]; }

  /** Black or white, whichever is readable on the colour that `shade` returns. */
  inkOn(value, most) { return Math.abs(value / most) > 0.55 ? (this.dark ? "#06131f" : "#ffffff") : this.colors.ink; }

  /** Clear a canvas and return its context, scaled to CSS pixels, with its width and height. */
  canvas(id, height) {
    const canvas = byId(id), width = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
    const size = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) { [canvas.width, canvas.height] = size; canvas.style.height = `${height}px`; }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
  }

  /** Draw a grid of small square cells, as many per line as fit; cell `i` has the colour `color(i)`. */
  cells(id, total, size, color) {
    const width = byId(id).clientWidth, each = Math.max(1, Math.floor(width / size)), lines = Math.max(1, Math.ceil(total / each));
    const { context } = this.canvas(id, lines * size);
    for (let i = 0; i < total; i++) {
      context.fillStyle = color(i);
      context.fillRect((i % each) * size, Math.floor(i / each) * size, size - 1, size - 1);
    }
    return { each, size };
  }

  escape(text) { return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`); }

  layerName(layer) {
    if (layer < 0) return this.about.input.tensors.length > 1 ? `input ${-1 - layer}` : "input";
    return `layer ${layer}, ${this.about.layers[layer].operation}`;
  }

  destination(number) {
    const [name] = Object.entries(this.machine.enums.Destination).find(([, value]) => value === this.machine.drain(number, "destination"));
    return DESTINATIONS[name];
  }
}
