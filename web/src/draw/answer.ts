// A sample beside what the net answers: a bar for each class, its probability.

import { type Box, fitted } from "./box";
import { css, grey, largest, type Palette } from "./palette";
import { drawPicture } from "./picture";

export interface Answer {
  readonly image: ArrayLike<number>;
  readonly rows: number;
  readonly columns: number;
  readonly shares: ArrayLike<number>;
  readonly names: readonly string[];
  readonly truth: number;
}

export function drawAnswer(ctx: CanvasRenderingContext2D, box: Box, answer: Answer, palette: Palette): void {
  const { image, rows, columns, names, shares } = answer;
  const rect = fitted({ x: 2, y: 2, width: box.width * 0.42, height: box.height - 4 }, columns / rows);
  const bright = largest(image);
  drawPicture(ctx, rect, image, rows, columns, (value) => grey(value, bright, palette));
  ctx.strokeStyle = palette.grid;
  ctx.strokeRect(rect.x, rect.y, rect.width, rect.height);
  const left = box.width * 0.48;
  const pitch = Math.min((box.height - 8) / names.length, 30);
  const labels = Math.min(96, box.width * 0.18);
  const room = box.width - left - labels - 8;
  ctx.font = `${Math.min(pitch * 0.62, 13)}px system-ui, sans-serif`;
  ctx.textBaseline = "middle";
  names.forEach((name, place) => {
    const y = 4 + place * pitch;
    ctx.fillStyle = palette.ink;
    ctx.fillText(`${place === answer.truth ? "▸ " : ""}${name}`, left, y + pitch / 2, labels - 6);
    ctx.fillStyle = css(palette.empty);
    ctx.fillRect(left + labels, y + 3, room, pitch - 6);
    ctx.fillStyle = css(palette.classes[place % palette.classes.length]);
    ctx.fillRect(left + labels, y + 3, room * Math.min(shares[place] || 0, 1), pitch - 6);
  });
  ctx.textBaseline = "alphabetic";
}
