// The address of the page restores its state: #view?subject=...&setting=value&at.choice=value&lang=..., settings at their
// defaults left out.

import type { Limit, Setting, Settings } from "./messages";

export interface Place {
  readonly view: string;
  readonly subject: string;
  readonly settings: Settings | null;
  /** What is chosen in the page alone, such as a line of a drawing. */
  readonly choices: Settings;
  /** Its tag; empty for that of the reader. */
  readonly language: string;
}

const CHOICE = "at.";

/** The place that a fragment such as #share?pattern=conv&kernel=3 names. */
export function parsePlace(fragment: string): Place {
  const [view = "", query = ""] = fragment.replace(/^#/, "").split("?", 2);
  const [settings, choices]: Record<string, Setting>[] = [{}, {}];
  let [subject, language] = ["", ""];
  for (const [name, text] of new URLSearchParams(query)) {
    if (name === "subject") subject = text;
    else if (name === "lang") language = text;
    else if (name.startsWith(CHOICE)) choices[name.slice(CHOICE.length)] = parseSetting(text);
    else settings[name] = parseSetting(text);
  }
  return { view, subject, settings: Object.keys(settings).length > 0 ? settings : null, choices, language };
}

/** The fragment of a place. */
export function formatPlace(place: Place, limits: readonly Limit[]): string {
  const query = new URLSearchParams();
  if (place.subject) query.set("subject", place.subject);
  for (const { name, default: usual } of limits) {
    const value = place.settings?.[name];
    if (value !== undefined && !equal(value, usual)) query.set(name, formatSetting(value));
  }
  for (const [name, value] of Object.entries(place.choices)) query.set(CHOICE + name, formatSetting(value));
  if (place.language) query.set("lang", place.language);
  const text = query.toString();
  return `#${place.view}${text ? `?${text}` : ""}`;
}

/** All settings: those that a link names, and the others at their defaults. */
export function completed(settings: Settings, limits: readonly Limit[]): Settings {
  return Object.fromEntries(limits.map(({ name, default: usual }) => [name, settings[name] ?? usual]));
}

/** Whether two settings are the same, lists by their items. */
export function equal(one: Setting | undefined, other: Setting | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** A text that would be read as something else is written with quotes. */
function formatSetting(value: Setting): string {
  if (typeof value === "string") return parseSetting(value) === value ? value : JSON.stringify(value);
  return JSON.stringify(value);
}

function parseSetting(text: string): Setting {
  if (!/^([["]|-?\d+(\.\d+)?(e-?\d+)?$)/.test(text)) return text;
  try {
    return JSON.parse(text) as Setting;
  } catch {
    return text;
  }
}
