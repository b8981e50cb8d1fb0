import { expect, it } from "vitest";
import { en } from "./en";
import { zhHans } from "./zh-Hans";
import { zhHant } from "./zh-Hant";

type Tree = { [key: string]: unknown };

/** The paths of all words of a dictionary. */
function paths(tree: Tree, before = ""): string[] {
  return Object.entries(tree).flatMap(([key, word]) =>
    typeof word === "object" && word !== null ? paths(word as Tree, `${before}${key}.`) : [`${before}${key}`],
  );
}

it.each([["zh-Hans", zhHans], ["zh-Hant", zhHant]])("%s has exactly the words of English", (_, dictionary) => {
  expect(paths(dictionary as Tree).sort()).toEqual(paths(en as Tree).sort());
});

it("the two Chinese dictionaries are written in their own characters", () => {
  expect(JSON.stringify(written(zhHant))).not.toMatch(/[权层网训练设个这为与]/);
  expect(JSON.stringify(written(zhHans))).not.toMatch(/[權層網訓練設個這為與]/);
});

const sources = import.meta.glob<string>(["../**/*.svelte", "../**/*.ts", "!./**"], { query: "?raw", import: "default", eager: true });
/** Words that are looked up by names of the server: of settings, classes of verdicts, update rules and so on. */
const LOOKED_UP = /^(name|inEnglish|(views|purpose|labels|options|tourSteps|inside\.names)\..*|[a-z]+\.(verdicts|codes|kinds|rules|problems|states|settings|scores|graphs|graphNames)\..*)$/;

it("every word of the dictionary is said somewhere in the page", () => {
  const page = Object.entries(sources).filter(([file]) => !file.endsWith(".test.ts")).map(([, text]) => text).join("\n");
  const unsaid = paths(en as Tree).filter((path) => !LOOKED_UP.test(path) && !new RegExp(`\\b(words|say)\\.${path.split(".").at(-1)}\\b`).test(page));
  expect(unsaid).toEqual([]);
});

/** Functions of a dictionary as their texts. */
function written(tree: Tree): Tree {
  return Object.fromEntries(
    Object.entries(tree).map(([key, word]) => [
      key,
      typeof word === "object" && word !== null ? written(word as Tree) : String(word),
    ]),
  );
}

it("what is said in English only has a word before it in the other languages", () => {
  expect(en.inEnglish("no rows.")).toBe("no rows.");
  for (const other of [zhHans, zhHant]) expect(other.inEnglish("no rows.")).toMatch(/英文.*no rows\.$/);
});
