// Colours of drawings, for the light and the dark page. Sign is never told by colour alone: see the figures' marks and tables.

export interface Palette {
  readonly page: string;
  readonly ink: string;
  readonly faint: string;
  readonly grid: string;
  readonly accent: string;
  readonly positive: readonly [number, number, number];
  readonly negative: readonly [number, number, number];
  readonly zero: readonly [number, number, number];
  readonly empty: readonly [number, number, number];
  readonly classes: readonly (readonly [number, number, number])[];
}

const CLASSES_LIGHT = [
  [31, 111, 178], [214, 106, 18], [38, 133, 74], [184, 54, 66], [118, 80, 168], [121, 85, 61], [197, 78, 148],
  [90, 96, 106], [140, 138, 20], [11, 138, 150],
] as const;
const CLASSES_DARK = [
  [92, 172, 238], [247, 156, 76], [94, 199, 128], [240, 116, 124], [180, 146, 232], [188, 150, 122], [236, 138, 196],
  [168, 176, 188], [212, 208, 84], [72, 202, 214],
] as const;

export const LIGHT: Palette = {
  page: "#ffffff", ink: "#1c2430", faint: "#5a6472", grid: "#d9dee6", accent: "#b3126b",
  positive: [205, 92, 0], negative: [20, 92, 176], zero: [255, 255, 255], empty: [238, 240, 244],
  classes: CLASSES_LIGHT,
};

export const DARK: Palette = {
  page: "#171c24", ink: "#e8ecf2", faint: "#a4afbd", grid: "#333c49", accent: "#ff7ac0",
  positive: [255, 160, 66], negative: [96, 170, 255], zero: [23, 28, 36], empty: [38, 45, 55],
  classes: CLASSES_DARK,
};

type Colour = readonly [number, number, number];

/** The colour between two, `share` of the way. */
export function blend(from: Colour, to: Colour, share: number): [number, number, number] {
  const at = Math.min(Math.max(share, 0), 1);
  const part = (k: 0 | 1 | 2) => Math.round(from[k] + (to[k] - from[k]) * at);
  return [part(0), part(1), part(2)];
}

const STEPS = 255;
type Ramp = readonly Colour[];
const ramps = new WeakMap<Palette, readonly [positive: Ramp, negative: Ramp, pale: Ramp]>();

/** The colours of positive numbers, of negative ones and of these in paler rows, by the root of their share of the limit, made once. */
function rampsOf(palette: Palette): readonly [Ramp, Ramp, Ramp] {
  const known = ramps.get(palette);
  if (known) return known;
  const ramp = (to: Colour) => Array.from({ length: STEPS + 1 }, (_, k) => blend(palette.zero, to, (k / STEPS) ** 1.1));
  const negative = ramp(palette.negative);
  const made = [ramp(palette.positive), negative, negative.map((colour) => blend(colour, palette.zero, 0.35))] as const;
  ramps.set(palette, made);
  return made;
}

/** Zero is the page, positive orange, negative blue, deepest at ±limit. */
export function signed(value: number, limit: number, palette: Palette): Colour {
  return hatched(value, limit, 0, palette);
}

/** The same where cells are too small for a + or −: every other row of what is negative is paler, so that it looks hatched. */
export function hatched(value: number, limit: number, row: number, palette: Palette): Colour {
  const place = limit > 0 ? Math.round(STEPS * Math.sqrt(Math.min(Math.abs(value) / limit, 1))) : 0;
  return rampsOf(palette)[value >= 0 ? 0 : 1 + (row % 2)][place] ?? palette.zero;
}

/** From the page to ink, for values from 0 to `limit`. */
export function grey(value: number, limit: number, palette: Palette): [number, number, number] {
  return blend(palette.zero, palette === DARK ? [240, 243, 248] : [28, 36, 48], limit > 0 ? value / limit : 0);
}

/** A colour of its own for each group, by its number. */
export function group(number: number, palette: Palette): [number, number, number] {
  const hue = (number * 0.61803398875) % 1;
  const level = palette === DARK ? 0.62 + 0.2 * ((number * 0.7548) % 1) : 0.42 + 0.25 * ((number * 0.7548) % 1);
  return hsl(hue, 0.62, level);
}

export function css(colour: Colour, alpha = 1): string {
  return `rgba(${colour[0]}, ${colour[1]}, ${colour[2]}, ${alpha})`;
}

/** The largest size of all numbers. */
export function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let k = 0; k < values.length; k++) {
    const size = Math.abs(values[k]);
    if (size > most && size < Infinity) most = size;
  }
  return most;
}

function hsl(hue: number, saturation: number, light: number): [number, number, number] {
  const a = saturation * Math.min(light, 1 - light);
  const channel = (n: number) => {
    const k = (n + hue * 12) % 12;
    return Math.round(255 * (light - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}
