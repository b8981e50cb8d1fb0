// The language of the page: chosen, remembered, by default that of the browser; numbers as the language writes them.

import { en, type Words } from "./en";
import { zhHans } from "./zh-Hans";
import { zhHant } from "./zh-Hant";

export const LANGUAGES = { en, "zh-Hans": zhHans, "zh-Hant": zhHant } as const;
export type Language = keyof typeof LANGUAGES;

/** What the lab says, by language: in English at least. */
export type Texts = Readonly<Partial<Record<Language, string>> & { en: string }>;

const KEY = "commonweight-lab-language";

function preferred(): Language {
  const kept = localStorage.getItem(KEY);
  if (kept !== null && kept in LANGUAGES) return kept as Language;
  for (const tag of navigator.languages) {
    if (/^zh(-|$)/i.test(tag)) return /hant|tw|hk|mo/i.test(tag) ? "zh-Hant" : "zh-Hans";
    if (/^en(-|$)/i.test(tag)) return "en";
  }
  return "en";
}

class Speech {
  language = $state<Language>(preferred());
  readonly words: Words = $derived(LANGUAGES[this.language]);
  private readonly counts = $derived(new Intl.NumberFormat(this.language));
  private readonly figures = $derived(new Intl.NumberFormat(this.language, { maximumSignificantDigits: 3 }));
  private readonly percents = $derived(new Intl.NumberFormat(this.language, { style: "percent", maximumFractionDigits: 1 }));

  /** Speak the language of a link, without remembering it. */
  speak(tag: string): void {
    if (tag in LANGUAGES) this.language = tag as Language;
  }

  choose(language: Language): void {
    this.language = language;
    localStorage.setItem(KEY, language);
  }

  /** A text of the lab in this language; where it has none, in English, with a word about it. */
  told(texts: Texts): string {
    return texts[this.language] ?? this.words.inEnglish(texts.en);
  }

  /** A whole number. */
  count(value: number): string {
    return Number.isFinite(value) ? this.counts.format(value) : "–";
  }

  /** A number with three figures; very large and very small ones with a power of ten. */
  figure(value: number): string {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-4 || size >= 1e6)) return value.toExponential(2).replace("-", "−").replace("e-", "e−");
    return this.figures.format(value).replace("-", "−");
  }

  /** Words in a row, as the language joins them. */
  list(words: readonly string[]): string {
    return new Intl.ListFormat(this.language).format(words);
  }

  /** A number of bytes, with three figures. */
  bytes(value: number): string {
    const power = value < 1000 ? 0 : Math.min(Math.floor(Math.log10(value) / 3), 4);
    const unit = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"][power];
    const style = { style: "unit", unit, unitDisplay: power === 0 ? "long" : "short", maximumSignificantDigits: 3 } as const;
    return new Intl.NumberFormat(this.language, style).format(value / 1000 ** power);
  }

  /** A share without decimals, for tables of many. */
  wholePercent(value: number): string {
    return this.percent(Math.round(100 * value) / 100);
  }

  percent(value: number): string {
    return Number.isFinite(value) ? this.percents.format(value) : "–";
  }
}

export const speech = new Speech();
