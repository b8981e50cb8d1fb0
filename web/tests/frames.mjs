// How soon the page is there and learns, and, over some seconds of training that begin some seconds after it has begun to
// learn, how often its first figure is drawn anew, and how many steps were taken: JSON, a second. It is told of drawings and of
// changes of the page and asks for none of its own, which would keep the browser drawing more often than the lab has something new.
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
  const changed = () => new Promise((done) => {
    new MutationObserver((_, observer) => {
      observer.disconnect();
      done({ at: performance.now(), step: step(), drawn });
    }).observe(shown, { characterData: true, childList: true, subtree: true });
  });
  const figure = document.querySelector("figure canvas").getContext("2d");
  const begin = figure.setTransform; // with which each drawing begins
  let drawn = 0;
  figure.setTransform = (...given) => {
    drawn += 1;
    begin.apply(figure, given);
  };
  await wait(settled);
  const from = await changed();
  await wait(milliseconds);
  const to = await changed();
  const painted = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN;
  const perSecond = (name) => (1000 * (to[name] - from[name])) / (to.at - from.at);
  return { painted, learned, drawn: perSecond("drawn"), steps: perSecond("step") };
}, [1000 * Number(seconds), 1000 * Number(settled)]);
console.log(JSON.stringify({ viewed, ...counted }));
await browser.close();
