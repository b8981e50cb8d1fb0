// Files that the page gives to the person.

import { css, type Palette } from "../draw/palette";

/** A line of curves: what it means, and how it is drawn. */
export interface Stroke {
  readonly label: string;
  readonly colour: number;
  readonly dash: readonly number[];
}

export function saveFile(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

const MARGIN = 8;
const KEY = 26;
const ROW = 20;

/** Save a drawing below its title and what its lines mean, in pixels of `scale` to one of the page. */
export function savePng(drawn: HTMLCanvasElement, title: string, scale: number, palette: Palette, lines: readonly Stroke[] = []): void {
  const canvas = document.createElement("canvas");
  const ctx = canvas.getContext("2d");
  if (!ctx) return;
  const [font, bold] = ["13px system-ui, sans-serif", "600 15px system-ui, sans-serif"];
  ctx.font = font;
  const places = inRows(lines.map(({ label }) => KEY + ctx.measureText(label).width + 2 * MARGIN), drawn.width / scale - 2 * MARGIN);
  const top = 30 + (places.length > 0 ? (places[places.length - 1][1] + 1) * ROW : 0);
  canvas.width = drawn.width;
  canvas.height = drawn.height + Math.ceil(top * scale);
  ctx.fillStyle = palette.page;
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(drawn, 0, canvas.height - drawn.height);
  ctx.scale(scale, scale);
  ctx.fillStyle = palette.ink;
  ctx.font = bold;
  ctx.fillText(title, MARGIN, 21);
  ctx.font = font;
  ctx.lineWidth = 2.5;
  lines.forEach(({ label, colour, dash }, k) => {
    const [x, y] = [MARGIN + places[k][0], 39 + places[k][1] * ROW];
    ctx.strokeStyle = css(palette.classes[colour]);
    ctx.setLineDash([...dash]);
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(x + KEY - 2, y);
    ctx.stroke();
    ctx.fillText(label, x + KEY + 2, y + 4);
  });
  canvas.toBlob((blob) => blob && saveFile(blob, `${title}.png`));
}

/** Where things of these widths stand side by side, in as many rows as they need: [x, row] of each. */
export function inRows(widths: readonly number[], room: number): [number, number][] {
  let [x, row] = [0, 0];
  return widths.map((width) => {
    if (x > 0 && x + width > room) [x, row] = [0, row + 1];
    x += width;
    return [x - width, row];
  });
}
