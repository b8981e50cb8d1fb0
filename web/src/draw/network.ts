// A perceptron: a column of units for each layer, each unit with its picture, and a line for each weight: orange, or blue and
// dashed where it is negative, as thick as the weight is large.

import type { Box, Rect } from "./box";
import { css, largest, type Palette } from "./palette";
import { drawSigned } from "./picture";

export interface Layer {
  readonly name: string;
  /** Columns of the weights that are known; of a layer with many inputs, only the first of them. */
  readonly inputs: number;
  readonly allInputs: number;
  readonly outputs: number;
  readonly weight: Float32Array;
}

export interface Network {
  readonly layers: readonly Layer[];
  readonly pictures: readonly (Float32Array | null)[];
  readonly pictureSide: readonly [number, number];
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly chosen: readonly [number, number, number];
}

export interface Line {
  readonly layer: number;
  readonly output: number;
  readonly input: number;
  readonly x0: number;
  readonly y0: number;
  readonly x1: number;
  readonly y1: number;
}

const MOST = 16;

/** Where the units of each column lie: inputs, hidden layers, outputs; at most 16 of each. */
export function columns(box: Box, layers: readonly Layer[]): Rect[][] {
  if (layers.length === 0) return [];
  const counts = [layers[0].inputs > MOST ? 1 : layers[0].inputs, ...layers.map((layer) => layer.outputs)];
  const step = box.width / counts.length;
  return counts.map((count, place) => {
    const shown = Math.min(count, MOST);
    const pitch = Math.min((box.height - 26) / shown, 52);
    const side = Math.max(Math.min(pitch - 6, 44), 6);
    const top = (box.height - 26 - pitch * shown) / 2 + 22;
    const x = (place + 0.5) * step - side / 2;
    return Array.from({ length: shown }, (_, unit) => ({ x, y: top + unit * pitch, width: side, height: side }));
  });
}

/** A line for each weight between units that are drawn; those from many inputs are left out. */
export function lines(box: Box, layers: readonly Layer[]): Line[] {
  const places = columns(box, layers);
  const found: Line[] = [];
  layers.forEach((layer, place) => {
    if (place === 0 && layer.inputs > MOST) return;
    for (const [output, to] of places[place + 1].entries()) {
      for (const [input, from] of places[place].entries()) {
        found.push({
          layer: place, output, input,
          x0: from.x + from.width, y0: from.y + from.height / 2, x1: to.x, y1: to.y + to.height / 2,
        });
      }
    }
  });
  return found;
}

/** The line nearest to a point, at most 6 pixels away. */
export function lineAt(found: readonly Line[], x: number, y: number): Line | null {
  let best: Line | null = null;
  let nearest = 6;
  for (const line of found) {
    if (x < line.x0 || x > line.x1) continue;
    const share = (x - line.x0) / (line.x1 - line.x0 || 1);
    const slope = Math.abs(line.y1 - line.y0) / (line.x1 - line.x0 || 1);
    const away = Math.abs(curve(line, share) - y) / Math.sqrt(1 + slope * slope);
    if (away < nearest) [best, nearest] = [line, away];
  }
  return best;
}

/** The unit of a layer under a point: [layer, unit]; null on an input, or on none. */
export function unitAt(box: Box, layers: readonly Layer[], x: number, y: number): [number, number] | null {
  const places = columns(box, layers);
  for (let column = 1; column < places.length; column++) {
    const unit = places[column].findIndex((at) => x >= at.x && x < at.x + at.width && y >= at.y && y < at.y + at.height);
    if (unit >= 0) return [column - 1, unit];
  }
  return null;
}

function curve(line: Line, share: number): number {
  return line.y0 + (line.y1 - line.y0) * share;
}

export function drawNetwork(ctx: CanvasRenderingContext2D, box: Box, network: Network, palette: Palette): void {
  const { layers, chosen } = network;
  const places = columns(box, layers);
  const limits = layers.map((layer) => largest(layer.weight));
  for (const line of lines(box, layers)) {
    const layer = layers[line.layer];
    const weight = layer.weight[line.output * layer.inputs + line.input] ?? 0;
    const strength = limits[line.layer] > 0 ? Math.abs(weight) / limits[line.layer] : 0;
    const picked = chosen[0] === line.layer && chosen[1] === line.output && chosen[2] === line.input;
    ctx.strokeStyle = picked ? palette.accent : css(weight < 0 ? palette.negative : palette.positive, 0.15 + 0.8 * strength);
    ctx.lineWidth = picked ? Math.max(3, 5 * strength) : 0.5 + 4 * strength;
    ctx.setLineDash(weight < 0 ? [12, 8] : []);
    ctx.beginPath();
    ctx.moveTo(line.x0, line.y0);
    ctx.lineTo(line.x1, line.y1);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  places.forEach((units, column) => units.forEach((rect, unit) => drawUnit(ctx, rect, network, column, unit, palette)));
  drawHeads(ctx, box, network, places, palette);
}

function drawUnit(
  ctx: CanvasRenderingContext2D, rect: Rect, network: Network, column: number, unit: number, palette: Palette,
): void {
  ctx.fillStyle = palette.page;
  ctx.fillRect(rect.x, rect.y, rect.width, rect.height);
  const [height, width] = network.pictureSide;
  const all = network.pictures[column];
  if (all && all.length >= (unit + 1) * height * width) {
    const picture = all.subarray(unit * height * width, (unit + 1) * height * width);
    drawSigned(ctx, rect, picture, height, width, largest(picture), palette);
  }
  ctx.strokeStyle = palette.faint;
  ctx.lineWidth = 1;
  ctx.strokeRect(rect.x, rect.y, rect.width, rect.height);
  const last = column === network.layers.length;
  const name = column === 0 ? network.inputNames[unit] : last ? network.outputNames[unit] : "";
  if (!name) return;
  ctx.fillStyle = palette.ink;
  ctx.font = "12px system-ui, sans-serif";
  ctx.textAlign = last ? "left" : "right";
  ctx.fillText(name, last ? rect.x + rect.width + 6 : rect.x - 6, rect.y + rect.height / 2 + 4);
  ctx.textAlign = "left";
}

function drawHeads(
  ctx: CanvasRenderingContext2D, box: Box, network: Network, places: readonly Rect[][], palette: Palette,
): void {
  ctx.fillStyle = palette.faint;
  ctx.font = "12px system-ui, sans-serif";
  ctx.textAlign = "center";
  network.layers.forEach((layer, place) => {
    const rect = places[place + 1][0];
    const shown = layer.outputs > MOST ? `${MOST}/${layer.outputs}` : String(layer.outputs);
    ctx.fillText(`${layer.name} · ${shown}`, Math.min(rect.x + rect.width / 2, box.width - 40), 13);
  });
  if (network.layers.length > 0 && network.layers[0].inputs > MOST) {
    const rect = places[0][0];
    ctx.fillText(String(network.layers[0].allInputs), rect.x + rect.width / 2, rect.y + rect.height / 2 + 4);
  }
  ctx.textAlign = "left";
}
