// How soon the page is there and learns, and, over some seconds of training, how often the browser draws and how often it
// shows another step: JSON.
import { chromium } from "playwright-core";

const [address, seconds] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
page.setDefaultTimeout(120000);
const asked = Date.now();
await page.goto(address);
await page.locator("button.primary").waitFor();
const viewed = Date.now() - asked;
const counted = await page.evaluate(async (milliseconds) => {
  const step = () => document.querySelector(".steps strong").textContent;
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
  await watch((now) => now < clicked + learned + 1000);
  let [drawn, changed, last] = [0, 0, step()];
  const until = performance.now() + milliseconds;
  await watch((now) => {
    drawn++;
    if (step() !== last) [changed, last] = [changed + 1, step()];
    return now < until;
  });
  const painted = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN;
  return { painted, learned, drawn: (1000 * drawn) / milliseconds, changed: (1000 * changed) / milliseconds };
}, 1000 * Number(seconds));
console.log(JSON.stringify({ viewed, ...counted }));
await browser.close();
