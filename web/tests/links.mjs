// A link restores a view: settings, what was chosen, and the language. Each place is opened, something else is done in its view,
// and the link is opened again in a page of its own: the address must be what it was, and the page must say the same.

const PLACES = {
  play: "#play?data=moons&hidden=%5B4%2C3%5D&activation=relu&l2=0.001&dropout=0.2&seed=3&at.weight=%5B1%2C2%2C3%5D&at.unit=%5B1%2C2%5D&lang=zh-Hant",
  share: "#share?pattern=tiled&kernel=3&maps=3&map=1&out=200&inp=56&sample=4&at.colour=group&at.deep=%5B0%2C3%5D&lang=zh-Hans",
  inside: "#inside?stride=2&padding=1&pooling=average&sample=7&stage=2&map=3&row=1&column=2&lang=en",
  descend: "#descend?problem=neuron&momentum=0.5&start_a=0.2&start_b=-0.4&at.hidden=%5B1%2C3%5D&lang=zh-Hans",
  run: "#run?run=calm&beside=too-fast&at.layer=1&lang=zh-Hant",
  map: "#map?data=iris&rows=4&columns=6&edges=torus&unit=9&sample=3&feature=1&lang=zh-Hans",
  audit: "#audit?file=model&suggest=yes&at.tie=0&lang=zh-Hant",
};
const ELSEWHERE = {
  play: "#play?data=xor&lang=en", share: "#share?pattern=local&lang=en", inside: "#inside?kernel=3&lang=en", descend: "#descend?problem=chain&lang=en",
  run: "#run?run=too-fast&lang=en", map: "#map?rows=3&lang=en", audit: "#audit?file=calm%2Fweights.safetensors&lang=en",
};

export async function links(browser, address, wrong) {
  for (const [view, place] of Object.entries(PLACES)) {
    const first = await shown(browser, address, view, place, wrong);
    await shown(browser, address, view, ELSEWHERE[view], wrong);
    const again = await shown(browser, address, view, place, wrong);
    if (again !== first) wrong.push(`links: ${view} says something else when it is opened again: ${again.slice(0, 300)} instead of ${first.slice(0, 300)}`);
  }
  await hostile(browser, address, wrong);
}

/** Links that choose what there is not. */
const HOSTILE = [
  "#descend?at.hidden=5", "#share?at.deep=7&at.siamese=%5B9%2C9%5D&at.colour=%5B%5D", "#play?at.unit=x&at.weight=3", "#play?at.unit=%5B9%2C99%5D&at.weight=%5B8%5D",
  "#run?run=calm&at.layer=%5B1%5D", "#run?run=calm&at.layer=x", "#audit?file=model&at.tie=x", "#audit?file=model&at.tie=99",
];

/** Each of them shows its view, whole. */
async function hostile(browser, address, wrong) {
  for (const place of HOSTILE) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, locale: "en-US" });
    page.on("pageerror", (error) => wrong.push(`links: ${place}: ${error.message}`));
    await page.goto(address + place);
    await page.waitForSelector(".view .card .said", { timeout: 30000 }).catch(() => wrong.push(`links: ${place} shows nothing`));
    await page.waitForTimeout(500);
    await page.close();
  }
}

/** What a view says under its figures, once its address is the place. */
async function shown(browser, address, view, place, wrong) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, locale: "en-US" });
  await page.goto(address + place);
  await page.waitForSelector(`.view.${view}`, { timeout: 60000 });
  const same = (wanted) => {
    const parts = (hash) => JSON.stringify([...new URLSearchParams(hash.split("?")[1])].filter(([name]) => wanted.includes(`${name}=`)).sort());
    return parts(location.hash) === parts(wanted) && document.documentElement.lang === new URLSearchParams(wanted.split("?")[1]).get("lang");
  };
  await page.waitForFunction(same, place, { timeout: 30000 }).catch(() => wrong.push(`links: ${place} became ${page.url().split("#")[1]}`));
  await page.waitForTimeout(800);
  const said = (await page.locator(".said, .reading, .sum, .about").allInnerTexts()).join(" | ");
  await page.close();
  return said;
}
