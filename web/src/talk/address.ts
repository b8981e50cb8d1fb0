// The address of the page restores its state: #view?subject=...&setting=value, settings at their defaults left out.

import type { Limit, Setting, Settings } from "./messages";

export interface Place {
  readonly view: string;
  readonly subject: string;
  readonly settings: Settings | null;
}

/** The place that a fragment such as #share?pattern=conv&kernel=3 names. */
export function parsePlace(fragment: string): Place {
  const [view = "", query = ""] = fragment.replace(/^#/, "").split("?", 2);
  const settings: Record<string, Setting> = {};
  let subject = "";
  for (const [name, text] of new URLSearchParams(query)) {
    if (name === "subject") subject = text;
    else settings[name] = parseSetting(text);
  }
  return { view, subject, settings: Object.keys(settings).length > 0 ? settings : null };
}

/** The fragment of a place. */
export function formatPlace(view: string, subject: string, settings: Settings, limits: readonly Limit[]): string {
  const query = new URLSearchParams();
  if (subject) query.set("subject", subject);
  for (const limit of limits) {
    const value = settings[limit.name];
    if (value !== undefined && JSON.stringify(value) !== JSON.stringify(limit.default)) {
      query.set(limit.name, typeof value === "object" ? JSON.stringify(value) : String(value));
    }
  }
  const text = query.toString();
  return `#${view}${text ? `?${text}` : ""}`;
}

function parseSetting(text: string): Setting {
  if (/^-?\d+(\.\d+)?(e-?\d+)?$/.test(text)) return Number(text);
  if (text.startsWith("[")) {
    try {
      return JSON.parse(text) as Setting;
    } catch {
      return text;
    }
  }
  return text;
}
