// What follows numbers but is read, not watched: words and curves. They change some times a second, all at one moment and
// with a frame: nobody reads faster, and each change of words has the whole page laid out and composed anew.

import { untrack } from "svelte";

const READ_MILLISECONDS = 125;
/** Longer than from one frame to the next: only where no frame follows, words change without one. */
const FRAME_MILLISECONDS = 50;

/** The same value, at most once in each eighth of a second; to be called while a component is made. */
export function seldom<Value>(newest: () => Value): { readonly value: Value } {
  let shown = $state.raw(untrack(newest));
  let late = $state(0);
  let changed = -1;
  let clock: ReturnType<typeof setTimeout> | undefined;
  $effect(() => {
    void late;
    const found = newest();
    clearTimeout(clock);
    if (found === untrack(() => shown)) return;
    const now = performance.now();
    const moment = Math.floor(now / READ_MILLISECONDS);
    if (moment > changed) [shown, changed] = [found, moment];
    else clock = setTimeout(() => late++, (moment + 1) * READ_MILLISECONDS - now + FRAME_MILLISECONDS);
  });
  $effect(() => () => clearTimeout(clock));
  return { get value() { return shown; } };
}
