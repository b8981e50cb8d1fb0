// What the page and the server say to each other in JSON. docs/lab_protocol.md describes the messages.

import type { Texts } from "../words/speech.svelte";

export type Setting = string | number | readonly number[] | readonly (readonly number[])[];
export type Settings = Readonly<Record<string, Setting>>;

export interface Limit {
  readonly name: string;
  readonly kind: "choice" | "whole" | "real" | "sizes" | "points" | "text";
  readonly default: Setting;
  readonly options?: readonly string[];
  readonly low?: number;
  readonly high?: number;
  readonly step?: number;
  readonly most?: number;
}

export interface State {
  readonly type: "state";
  readonly view: string;
  readonly running: boolean;
  readonly step: number;
  readonly steps_per_second: number;
  readonly limits: readonly Limit[];
  readonly settings: Settings;
  readonly facts: Readonly<Record<string, unknown>>;
  readonly code: string;
}

export type Told =
  | State
  | { readonly type: "hello"; readonly version: number; readonly viewer: number; readonly views: readonly string[] }
  | { readonly type: "refused"; readonly text: Texts }
  | { readonly type: "worker"; readonly code: number; readonly again: boolean }
  | { readonly type: "steered"; readonly by: number; readonly did: string };

export type Asked =
  | { type: "open"; view: string; subject: string; settings: Settings | null }
  | { type: "set"; settings: Settings }
  | { type: "act"; action: string; given: Record<string, unknown> }
  | { type: "run"; steps_per_second: number }
  | { type: "pause" }
  | { type: "step"; count: number }
  | { type: "stop" };
