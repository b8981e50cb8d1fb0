// How soon the page is there and learns; and then, for each line that comes in, how often its first figure is drawn anew over
// some seconds of training, and how many steps were taken: a line of JSON each, a second. Between them training pauses. It is
// told of drawings and of changes of the page and asks for none of its own, which would keep the browser drawing more often
// than the lab has something new.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const BEGINNING = 300;
const [address, seconds, settled] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
page.setDefaultTimeout(120000);
const asked = Date.now();
await page.goto(address);
await page.locator("button.primary").waitFor();
const viewed = Date.now() - asked;
const opened = await page.evaluate(async (settled) => {
  const shown = document.querySelector(".steps strong");
  const toggle = () => document.querySelector("button.primary").click();
  const wait = (time) => new Promise((done) => setTimeout(done, time));
  const figure = document.querySelector("figure canvas").getContext("2d");
  const begin = figure.setTransform; // with which each drawing begins
  let drawn = 0;
  figure.setTransform = (...given) => {
    drawn += 1;
    begin.apply(figure, given);
  };
  /** The next change of the step that is shown. */
  const changed = () => new Promise((done) => {
    new MutationObserver((_, observer) => {
      observer.disconnect();
      done({ at: performance.now(), step: Number(shown.textContent.replace(/\D/g, "")), drawn });
    }).observe(shown, { characterData: true, childList: true, subtree: true });
  });
  window.count = async (milliseconds, beginning) => {
    toggle();
    await wait(beginning);
    const from = await changed();
    await wait(milliseconds);
    const to = await changed();
    toggle();
    const perSecond = (name) => (1000 * (to[name] - from[name])) / (to.at - from.at);
    return { drawn: perSecond("drawn"), steps: perSecond("step") };
  };
  const clicked = performance.now();
  const learns = changed();
  toggle();
  const learned = (await learns).at - clicked;
  await wait(settled);
  toggle();
  return { painted: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN, learned };
}, 1000 * Number(settled));
console.log(JSON.stringify({ viewed, ...opened }));
for await (const _ of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await page.evaluate((given) => window.count(...given), [1000 * Number(seconds), BEGINNING])));
}
await browser.close();
