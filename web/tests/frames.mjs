// How soon the page is there and learns, and, over some seconds of training that begin some seconds after it has begun to
// learn, how often the browser draws, how often it shows another step, and how many steps were taken: JSON, a second.
import { chromium } from "playwright-core";

const [address, seconds, settled] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
page.setDefaultTimeout(120000);
const asked = Date.now();
await page.goto(address);
await page.locator("button.primary").waitFor();
const viewed = Date.now() - asked;
const counted = await page.evaluate(async ([milliseconds, settled]) => {
  const step = () => Number(document.querySelector(".steps strong").textContent.replace(/\D/g, ""));
  /** Look at each drawing of the browser for as long as something holds. */
  const watch = (holds) =>
    new Promise((done) => {
      const look = (now) => (holds(now) ? requestAnimationFrame(look) : done());
      requestAnimationFrame(look);
    });
  const first = step();
  const clicked = performance.now();
  document.querySelector("button.primary").click();
  await watch(() => step() === first);
  const learned = performance.now() - clicked;
  await watch((now) => now < clicked + learned + settled);
  const began = performance.now();
  const from = step();
  let [drawn, changed, last] = [0, 0, from];
  await watch((now) => {
    drawn++;
    if (step() !== last) [changed, last] = [changed + 1, step()];
    return now < began + milliseconds;
  });
  const painted = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN;
  const perSecond = (count) => (1000 * count) / (performance.now() - began);
  return { painted, learned, drawn: perSecond(drawn), changed: perSecond(changed), steps: perSecond(last - from) };
}, [1000 * Number(seconds), 1000 * Number(settled)]);
console.log(JSON.stringify({ viewed, ...counted }));
await browser.close();
