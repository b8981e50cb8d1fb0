// A map, and what is left of it when its largest value is taken from each window, or the mean of each: side by side.

import { type Box, fitted } from "./box";
import { largest, type Palette } from "./palette";
import { drawSigned } from "./picture";

export interface Pooled {
  readonly title: string;
  readonly values: ArrayLike<number>;
  readonly side: number;
}

export function drawPooling(ctx: CanvasRenderingContext2D, box: Box, maps: readonly Pooled[], palette: Palette): void {
  const limit = largest(maps[0].values);
  const room = box.width / maps.length;
  ctx.textAlign = "center";
  maps.forEach(({ title, values, side }, k) => {
    const area = fitted({ x: k * room + 6, y: 20, width: room - 12, height: box.height - 24 }, 1);
    ctx.fillStyle = palette.ink;
    ctx.font = "12px system-ui, sans-serif";
    ctx.fillText(title, area.x + area.width / 2, 13);
    drawSigned(ctx, area, values, side, side, limit, palette);
    ctx.strokeStyle = palette.faint;
    ctx.strokeRect(area.x, area.y, area.width, area.height);
  });
  ctx.textAlign = "left";
}
