"use strict";
/* Answers questions about the model of a page: {description, values, queries} on stdin, one answer each on stdout. The
   arguments are the model's scripts. */
const { readFileSync } = require("node:fs");
const { runInThisContext } = require("node:vm");
const { inflateSync } = require("node:zlib");
const Machine = runInThisContext([...process.argv.slice(2).map((path) => readFileSync(path, "utf-8")), "Machine"].join("\n"));

const { description, values, queries } = JSON.parse(readFileSync(0, "utf-8"));
const raw = inflateSync(Buffer.from(values, "base64"));
const buffer = raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length);
const kinds = { int8: Int8Array, int32: Int32Array }, arrays = {};
for (const [name, [kind, at, length]] of Object.entries(description.arrays)) arrays[name] = new kinds[kind](buffer, at, length);
const machine = new Machine(description, arrays);
const { rows, columns } = machine, size = machine.config.accumulator_rows;
const count = (length, make) => Array.from({ length }, (_, i) => make(i));

const answers = {
  array(cycle) {
    const { weights, sums, operands, activations } = machine.frame(cycle);
    return { weight: [...weights], total: [...sums], operand: [...operands], activation: [...activations] };
  },
  element(row, column, cycle) { return machine.element(row, column, cycle); },
  origin(row, column, cycle) {
    const { sampled, lane, operand } = machine.element(row, column, cycle);
    return { operand, ...machine.origin(sampled, lane) };
  },
  accumulators(bank, cycle) {
    return count(size, (row) => count(columns, (column) => machine.accumulatorValue(bank, row, column, cycle)));
  },
  activation(cycle) {
    return count(machine.about.memories.activation, (word) => {
      const bytes = new Int8Array(rows);
      machine.readActivation(word, cycle, bytes);
      return [...bytes];
    });
  },
  pass(index) {
    const pixels = machine.pass(index, "pixels");
    return { slot: machine.slot(index), words: count(pixels, (k) => machine.walked(index, k)), kept: [...machine.kept(index)] };
  },
};
process.stdout.write(JSON.stringify(queries.map(([name, ...rest]) => answers[name](...rest))));
