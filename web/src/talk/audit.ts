// What the facts of the view Audit are.

import type { Language } from "../words/speech.svelte";

/** A text in each language of the page. */
type Texts = Readonly<Record<Language, string>>;

export interface AuditGroup {
  readonly verdict: string;
  readonly names: readonly string[];
  readonly n_names: number;
  readonly tie: string | null;
  readonly max_difference: number | null;
  readonly bytes: number;
  readonly intent: Texts;
  readonly reality: Texts;
  readonly file: Texts;
  readonly against: Texts;
}

export interface Audited {
  readonly ok: boolean;
  readonly subject: string;
  readonly tensors: number;
  readonly bytes: number;
  readonly bytes_if_tied: number;
  readonly n_groups: number;
  readonly n_problems: number;
  readonly n_suggestions: number;
  readonly searched: boolean;
  readonly notes: readonly Texts[];
  readonly groups: readonly AuditGroup[];
  readonly problems: readonly { readonly code: string; readonly names: readonly string[]; readonly message: Texts; readonly remedy: Texts }[];
  readonly suggestions: readonly {
    readonly kind: string; readonly names: readonly string[]; readonly text: Texts; readonly error: number; readonly bytes_saved: number;
  }[];
}

export interface AuditFacts {
  readonly files: readonly string[];
  readonly all_files: boolean;
  readonly uploaded: boolean;
  readonly audit: Audited | null;
}
