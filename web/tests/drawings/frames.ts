// Every drawing with a fixed frame: what tests/drawings.mjs draws, and compares with the pictures beside this file.

import { drawAnswer } from "../../src/draw/answer";
import { drawArithmetic } from "../../src/draw/arithmetic";
import { drawBars } from "../../src/draw/bars";
import { drawConnections } from "../../src/draw/connections";
import { drawDescent } from "../../src/draw/descent";
import { drawFan } from "../../src/draw/fan";
import { drawHeat } from "../../src/draw/heat";
import { drawMatrix } from "../../src/draw/matrix";
import { drawNetwork } from "../../src/draw/network";
import { DARK, grey, LIGHT, type Palette } from "../../src/draw/palette";
import { drawOne } from "../../src/draw/picture";
import { drawPlane } from "../../src/draw/plane";
import { drawPooling } from "../../src/draw/pooling";
import { drawCells, drawPair, drawPictures, drawSheet } from "../../src/draw/som";
import { drawSpace } from "../../src/draw/space";
import { drawPad, drawStages } from "../../src/draw/stages";
import { drawTies } from "../../src/draw/ties";
import { drawTiles } from "../../src/draw/tiles";

type Draw = (ctx: CanvasRenderingContext2D, palette: Palette) => void;

const BOX = { width: 220, height: 150 };
const SQUARE = { width: 150, height: 150 };
const RECT = { x: 2, y: 2, width: 146, height: 146 };

/** Numbers from −1 to 1 that look like chance and are always the same. */
function numbers(count: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (state * 48271) % 2147483647;
    return (2 * state) / 2147483647 - 1;
  });
}
const shares = (count: number, seed = 1) => numbers(count, seed).map((n) => (n + 1) / 2);
const wave = (side: number) =>
  Float32Array.from({ length: side * side }, (_, k) => 0.5 + 0.5 * Math.sin((k % side) / 3) * Math.cos(Math.floor(k / side) / 4));
const points = (count: number, seed: number) => numbers(3 * count, seed).map((n, k) => (k % 3 < 2 ? n : n > 0 ? 1 : 0));

/** A window of 3×3 over 6×6 units: its weight where there is a connection, −1 elsewhere. */
const conv = Float32Array.from({ length: 36 * 36 }, (_, k) => {
  const [out, inp] = [Math.floor(k / 36), k % 36];
  const [down, right] = [Math.floor(inp / 6) - Math.floor(out / 6) + 1, (inp % 6) - (out % 6) + 1];
  return down >= 0 && down < 3 && right >= 0 && right < 3 ? 3 * down + right : -1;
});
const kernel = numbers(9, 4);
const matrix = conv.map((weight) => (weight < 0 ? 0 : kernel[weight]));
const users = [...conv.keys()].filter((k) => conv[k] === 5).flatMap((k) => [Math.floor(k / 36), k % 36]);
const layer = {
  side: 6, image: shares(36, 2), outputs: numbers(36, 3), users, asks: numbers(users.length / 2, 5), first: 0,
  anchor: [users[8], users[9]] as const, limit: 1,
};
const grid = (hexagonal: boolean) => ({
  positions: Array.from({ length: 20 }, (_, k) => {
    const row = Math.floor(k / 5);
    return hexagonal ? [row * Math.sqrt(0.75), (k % 5) + (row % 2) / 2] : [row, k % 5];
  }).flat(),
  rows: 4, columns: 5, hexagonal,
});
const net = {
  layers: [
    { name: "hidden1", inputs: 2, allInputs: 2, outputs: 4, weight: numbers(8, 6) },
    { name: "output", inputs: 4, allInputs: 4, outputs: 2, weight: numbers(8, 7) },
  ],
  pictures: [null, numbers(4 * 25, 8), null],
  pictureSide: [5, 5] as const, inputNames: ["x1", "x2"], outputNames: ["0", "1"], chosen: [0, 2, 1] as const,
};
const stage = (title: string, maps: number, side: number, seed: number) => ({ title, values: numbers(maps * side * side, seed), maps, rows: side, columns: side });

export const DRAWINGS: Readonly<Record<string, { width: number; height: number; draw: Draw }>> = {
  answer: { ...BOX, draw: (ctx, p) => drawAnswer(ctx, BOX, { image: shares(64), rows: 8, columns: 8, shares: [0.1, 0.7, 0.2], names: ["a", "b", "c"], truth: 1 }, p) },
  arithmetic: { width: 300, height: 120, draw: (ctx, p) => drawArithmetic(ctx, { width: 300, height: 120 }, { values: numbers(9, 2), weights: numbers(9, 3), maps: 1, rows: 3, columns: 3, titles: ["x", "w", "x·w"] }, p) },
  bars: { ...BOX, draw: (ctx, p) => drawBars(ctx, BOX, { values: numbers(12, 9), sum: -0.4, chosen: 3, sumLabel: "sum", eachLabel: "each" }, p) },
  cells: { ...SQUARE, draw: (ctx, p) => drawCells(ctx, RECT, grid(true), 7, 12, p, (k) => ({ colour: grey(k, 20, p), text: String(k % 3) })) },
  connections: { ...BOX, draw: (ctx, p) => drawConnections(ctx, BOX, { ...layer, window: [], output: -1 }, p) },
  descent: { ...BOX, draw: (ctx, p) => drawDescent(ctx, BOX, { surface: wave(20), side: 20, middle: [0, 0], reach: [1, 2], paths: numbers(2 * 6 * 2, 3), points: 6, rules: 2, start: [0.3, -0.5], shown: [true, true] }, p) },
  fan: { ...BOX, draw: (ctx, p) => drawFan(ctx, BOX, { steps: [0, 10, 20, 30], rows: [0, 1, 2, 3].map((k) => [-2 - k / 2, -1, k / 5, 1, 2 + k / 2]) }, p) },
  groups: { ...SQUARE, draw: (ctx, p) => drawMatrix(ctx, SQUARE, { values: matrix, index: conv, units: 36, weight: -1, anchor: [14, 15], limit: 0, by: "group" }, p) },
  heat: { ...SQUARE, draw: (ctx, p) => drawHeat(ctx, { x: 0, y: 0, ...SQUARE }, { values: shares(9), rows: 3, columns: 3, marked: 4, title: "heat" }, p) },
  matrix: { ...SQUARE, draw: (ctx, p) => drawMatrix(ctx, SQUARE, { values: matrix, index: conv, units: 36, weight: 5, anchor: [14, 15], limit: 0, by: "value" }, p) },
  network: { ...BOX, draw: (ctx, p) => drawNetwork(ctx, BOX, net, p) },
  one: { ...SQUARE, draw: (ctx, p) => drawOne(ctx, SQUARE, numbers(64, 5), 8, 8, p) },
  pad: { ...SQUARE, draw: (ctx, p) => drawPad(ctx, RECT, shares(49), 7, 24, p) },
  pair: { ...BOX, draw: (ctx, p) => drawPair(ctx, { x: 2, y: 2, width: 216, height: 146 }, ["a", "b", "c"], [0.2, 0.5, 0.9], [0.4, 0.3, 0.7], p) },
  pictures: { ...SQUARE, draw: (ctx, p) => drawPictures(ctx, RECT, grid(false), shares(20 * 9), [3, 3], 7, 12, p, (value) => grey(value, 1, p)) },
  plane: { ...SQUARE, draw: (ctx, p) => drawPlane(ctx, SQUARE, { ground: wave(12), side: 12, reach: 1, train: points(20, 4), test: points(12, 5), cursor: [0.4, -0.3] }, p) },
  pooling: { ...BOX, draw: (ctx, p) => drawPooling(ctx, BOX, [4, 2, 2].map((side, k) => ({ title: `${k}`, values: numbers(side * side, k + 2), side })), p) },
  sheet: { ...SQUARE, draw: (ctx, p) => drawSheet(ctx, RECT, { points: numbers(80, 2), labels: Array.from({ length: 40 }, (_, k) => k % 3), units: numbers(12, 8), edges: [0, 1, 1, 2, 3, 4, 4, 5, 0, 3], chosen: 2, sample: [0.2, -0.6] }, p) },
  space: { ...SQUARE, draw: (ctx, p) => drawSpace(ctx, SQUARE, { points: numbers(60, 3), classes: Array.from({ length: 30 }, (_, k) => k % 2), lattice: Array.from({ length: 25 }, (_, k) => [(k % 5) / 2 - 1 + 0.1 * Math.floor(k / 5), Math.floor(k / 5) / 2 - 1]).flat() }, p) },
  stages: { width: 320, height: 200, draw: (ctx, p) => drawStages(ctx, { width: 320, height: 200 }, [stage("image", 1, 8, 2), stage("first", 3, 8, 3), stage("pooled", 3, 4, 4)], [2, 1, 2, 1], { first: 1, maps: 1, top: 4, left: 2, rows: 2, columns: 2 }, p) },
  ties: { width: 360, height: 140, draw: (ctx, p) => drawTies(ctx, { width: 360, height: 140 }, [
    { names: ["embed.weight", "head.weight"], more: "", verdict: "same object", kind: "one", marked: false },
    { names: ["a", "b"], more: "and 2 more", verdict: "equal bits", kind: "apart", marked: false },
    { names: ["x", "y"], more: "", verdict: "diverged", kind: "broken", marked: true },
  ], 1, p) },
  tiles: { ...BOX, draw: (ctx, p) => drawTiles(ctx, BOX, { values: numbers(5 * 9, 7), count: 5, rows: 3, columns: 3, chosen: 2 }, p) },
  window: { ...BOX, draw: (ctx, p) => drawConnections(ctx, BOX, { ...layer, window: conv.slice(14 * 36, 15 * 36).map((w) => (w < 0 ? NaN : kernel[w])), output: 14 }, p) },
};

/** Letters as blocks, six tenths of their height wide: fonts differ between machines, the places of words do not. */
function withBlocks(ctx: CanvasRenderingContext2D): void {
  const size = () => Number(/([\d.]+)px/.exec(ctx.font)?.[1] ?? 10);
  const wide = (text: string) => 0.6 * size() * text.length;
  ctx.measureText = (text: string) => ({ width: wide(text) }) as TextMetrics;
  ctx.fillText = (text: string, x: number, y: number, most = Infinity) => {
    const width = Math.min(wide(text), most);
    const left = x - (ctx.textAlign === "center" ? width / 2 : ctx.textAlign === "right" ? width : 0);
    const top = y - (ctx.textBaseline === "middle" ? size() / 2 : 0.75 * size());
    ctx.fillRect(left, top, width, 0.75 * size());
  };
}

/** A drawing on the light page, and beside it on the dark one. */
export function drawn(name: string): HTMLCanvasElement {
  const { width, height, draw } = DRAWINGS[name];
  const canvas = Object.assign(document.createElement("canvas"), { width: 2 * width, height });
  [LIGHT, DARK].forEach((palette, k) => {
    const half = Object.assign(document.createElement("canvas"), { width, height });
    const ctx = half.getContext("2d");
    if (!ctx) throw new Error("This browser draws nothing.");
    withBlocks(ctx);
    ctx.fillStyle = palette.page;
    ctx.fillRect(0, 0, width, height);
    draw(ctx, palette);
    canvas.getContext("2d")?.drawImage(half, k * width, 0);
  });
  return canvas;
}

/** The share of pixels that differ by more than 24 of 256 levels in a channel; 1 where the sizes differ. */
export async function difference(canvas: HTMLCanvasElement, expected: string): Promise<number> {
  const image = new Image();
  image.src = expected;
  await image.decode();
  if (image.width !== canvas.width || image.height !== canvas.height) return 1;
  const other = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  other.getContext("2d")?.drawImage(image, 0, 0);
  const [ours, theirs] = [canvas, other].map((one) => one.getContext("2d")?.getImageData(0, 0, one.width, one.height).data ?? []);
  let differing = 0;
  for (let place = 0; place < ours.length; place += 4) {
    if ([0, 1, 2].some((channel) => Math.abs(ours[place + channel] - theirs[place + channel]) > 24)) differing++;
  }
  return differing / (ours.length / 4);
}
