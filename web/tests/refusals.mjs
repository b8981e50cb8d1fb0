// What the lab refuses is said in the language of the page; what it can only say in English comes with a word about it.

const SAID = {
  "zh-CN": { words: /^rate 是从 1e-05 到 10\.0 的数；收到的是 70。/, english: /^实验室说（英文）：Cannot read/ },
  "zh-TW": { words: /^rate 是從 1e-05 到 10\.0 的數；收到的是 70。/, english: /^實驗室說（英文）：Cannot read/ },
  "en-US": { words: /^rate is a number from 1e-05 to 10\.0; got 70\./, english: /^Cannot read/ },
};

export async function refusals(browser, address, wrong) {
  for (const [locale, { words, english }] of Object.entries(SAID)) {
    const page = await browser.newPage({ locale });
    page.setDefaultTimeout(120000);
    await page.goto(`${address}#play?rate=70`);
    await told(page, words, `refusals: a rate is not refused in ${locale}`, wrong);
    await page.goto("about:blank");
    await page.goto(`${address}#audit`);
    await page.locator('input[type="file"]').setInputFiles({ name: "a.safetensors", mimeType: "application/octet-stream", buffer: Buffer.from("nothing") });
    await told(page, english, `refusals: a damaged file is not told in ${locale}`, wrong);
    await page.close();
  }
}

async function told(page, sentence, what, wrong) {
  const note = page.locator(".note.refused span").first();
  const text = await note.innerText().catch(() => "nothing");
  if (!sentence.test(text)) wrong.push(`${what}: ${text}`);
}
