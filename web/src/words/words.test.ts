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

/** Functions of a dictionary as their texts. */
function written(tree: Tree): Tree {
  return Object.fromEntries(
    Object.entries(tree).map(([key, word]) => [
      key,
      typeof word === "object" && word !== null ? written(word as Tree) : String(word),
    ]),
  );
}
