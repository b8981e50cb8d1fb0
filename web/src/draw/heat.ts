// Shares from 0 to 1 by place, a grid of cells with the number in each.

import { fitted, type Rect } from "./box";
import { css, blend, type Palette } from "./palette";

export interface Heat {
  readonly values: ArrayLike<number>;
  readonly rows: number;
  readonly columns: number;
  readonly marked: number;
  readonly title: string;
}

export function drawHeat(ctx: CanvasRenderingContext2D, area: Rect, heat: Heat, palette: Palette): void {
  const rect = fitted({ ...area, y: area.y + 20, height: area.height - 20 }, heat.columns / heat.rows);
  ctx.fillStyle = palette.ink;
  ctx.font = "13px system-ui, sans-serif";
  ctx.textAlign = "center";
  ctx.fillText(heat.title, rect.x + rect.width / 2, rect.y - 7);
  const w = rect.width / heat.columns;
  const h = rect.height / heat.rows;
  ctx.font = `${Math.max(10, Math.min(w * 0.34, 15))}px system-ui, sans-serif`;
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  for (let place = 0; place < heat.rows * heat.columns; place++) {
    const share = heat.values[place] ?? 0;
    const x = rect.x + (place % heat.columns) * w;
    const y = rect.y + Math.floor(place / heat.columns) * h;
    ctx.fillStyle = css(blend(palette.empty, palette.classes[2], share));
    ctx.fillRect(x + 1, y + 1, w - 2, h - 2);
    ctx.fillStyle = share > 0.6 && palette.page === "#ffffff" ? "#ffffff" : share > 0.6 ? "#10151c" : palette.ink;
    ctx.fillText(String(Math.round(100 * share)), x + w / 2, y + h / 2 + 1);
    if (place === heat.marked) {
      ctx.strokeStyle = palette.accent;
      ctx.lineWidth = 2.5;
      ctx.strokeRect(x + 2, y + 2, w - 4, h - 4);
    }
  }
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "left";
}
