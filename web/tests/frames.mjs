// How soon the page is there and learns, and, over some seconds of training that begin some seconds after it has begun to
// learn, how often it shows another step, and how many steps were taken: JSON, a second. It is told of changes of the page
// and asks for no drawing of its own, which would keep the browser drawing more often than the lab has something new.
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
  const shown = document.querySelector(".steps strong");
  const step = () => Number(shown.textContent.replace(/\D/g, ""));
  const first = step();
  const clicked = performance.now();
  const learns = new Promise((done) => {
    new MutationObserver((_, observer) => {
      if (step() === first) return;
      observer.disconnect();
      done(performance.now() - clicked);
    }).observe(shown, { characterData: true, childList: true, subtree: true });
  });
  document.querySelector("button.primary").click();
  const learned = await learns;
  const wait = (time) => new Promise((done) => setTimeout(done, time));
  await wait(settled);
  const [began, from] = [performance.now(), step()];
  let [changed, last] = [0, from];
  const counting = new MutationObserver(() => {
    if (step() !== last) [changed, last] = [changed + 1, step()];
  });
  counting.observe(shown, { characterData: true, childList: true, subtree: true });
  await wait(milliseconds);
  counting.disconnect();
  const painted = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN;
  const perSecond = (count) => (1000 * count) / (performance.now() - began);
  return { painted, learned, changed: perSecond(changed), steps: perSecond(step() - from) };
}, [1000 * Number(seconds), 1000 * Number(settled)]);
console.log(JSON.stringify({ viewed, ...counted }));
await browser.close();
