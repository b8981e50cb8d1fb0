// The connection to the server, and what it has told us: the state of the open view and its newest frames.

import { completed, equal, type Place } from "./address";
import { decodeFrame, type Frame } from "./frame";
import type { Asked, Settings, State, Told } from "./messages";
import { speech } from "../words/speech.svelte";
import { Recording, type Moment } from "./recording";

export interface Note {
  readonly key: number;
  readonly kind: "refused" | "died" | "gone" | "ended" | "steered";
  readonly text: string;
  readonly by: number;
}

const CALM_MILLISECONDS = 250;

export class Lab {
  state = $state.raw<State | null>(null);
  live = $state.raw<Frame | null>(null);
  structure = $state.raw<Frame | null>(null);
  views = $state.raw<readonly string[]>([]);
  connected = $state(false);
  notes = $state.raw<readonly Note[]>([]);
  /** What is chosen in this page alone, and kept in its address: a line of a drawing, a layer. */
  choices = $state.raw<Settings>({});
  viewer = 0;
  /** The recording that is played instead of a server, and where it is. */
  replay = $state.raw<readonly Moment[] | null>(null);
  at = $state(0);
  readonly recording = new Recording();

  private socket: WebSocket | null = null;
  private opened: Asked | null = null;
  private linked: Settings | null = null;
  private waiting: Frame | null = null;
  private last = 0;
  private count = 0;
  private retry = 500;
  private readonly calm = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(private readonly address: string, recorded: readonly Moment[] | null) {
    if (recorded) this.play(recorded);
    else this.connect();
  }

  /** Show one moment of the recording. */
  seek(place: number): void {
    if (!this.replay) return;
    this.at = Math.min(Math.max(place, 0), this.replay.length - 1);
    const { frame, state, structure } = this.replay[this.at];
    this.state = { ...(JSON.parse(state) as State), running: false };
    this.structure = structure ? decodeFrame(structure) : null;
    this.live = decodeFrame(frame);
  }

  private play(recorded: readonly Moment[]): void {
    this.replay = recorded;
    this.connected = true;
    this.seek(0);
    this.views = this.state ? [this.state.view] : [];
  }

  open({ view, subject, settings, choices }: Place): void {
    this.choices = choices;
    if (this.replay) return;
    this.opened = { type: "open", view, subject, settings };
    this.linked = settings;
    this.state = this.live = this.structure = null;
    this.recording.clear();
    this.ask(this.opened);
  }

  ask(message: Asked): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  set(settings: Settings): void {
    this.ask({ type: "set", settings });
  }

  choose(choices: Settings): void {
    this.choices = { ...this.choices, ...choices };
  }

  /** Numbers that are chosen, or the usual ones: a link may say anything. */
  chosen(name: string, usual: readonly number[]): readonly number[] {
    const found = this.choices[name];
    return Array.isArray(found) && found.every(Number.isInteger) ? (found as readonly number[]) : usual;
  }

  act(action: string, given: Record<string, unknown> = {}): void {
    this.ask({ type: "act", action, given });
  }

  /** Say why something that was asked for elsewhere than here was not done. */
  refuse(text: string): void {
    this.note("refused", text);
  }

  dismiss(key: number): void {
    this.notes = this.notes.filter((note) => note.key !== key);
  }

  private connect(): void {
    const socket = new WebSocket(this.address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.connected = true;
      this.retry = 500;
      this.notes = this.notes.filter((note) => note.kind !== "gone");
      if (this.opened) this.ask(this.opened);
    };
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
      if (typeof event.data === "string") this.hear(JSON.parse(event.data) as Told, event.data);
      else this.receive(event.data);
    };
    socket.onclose = () => {
      if (this.connected) this.note("gone", "");
      this.connected = false;
      setTimeout(() => this.connect(), this.retry);
      this.retry = Math.min(2 * this.retry, 8000);
    };
    this.socket = socket;
  }

  private receive(buffer: ArrayBuffer): void {
    const frame = decodeFrame(buffer);
    if (frame.kind === "structure") this.recording.keepStructure(buffer);
    else this.recording.keepFrame(buffer);
    this.show(frame);
  }

  private hear(told: Told, text: string): void {
    if (told.type === "hello") {
      this.viewer = told.viewer;
      this.views = told.views;
    } else if (told.type === "state") {
      if (told.view !== this.state?.view) this.live = this.structure = this.waiting = null; // frames of the view before
      this.recording.keepState(text);
      this.state = told;
      if (this.opened?.type === "open") this.opened = { ...this.opened, settings: null };
      this.follow(told);
    } else if (told.type === "refused") this.note("refused", speech.told(told.text));
    else if (told.type === "worker") this.note(told.again ? "died" : "ended", String(told.code));
    else this.note("steered", told.did, told.by);
  }

  /** A link means its settings and no others: what somebody else set before goes back to its default. */
  private follow({ settings, limits }: State): void {
    if (!this.linked) return;
    const meant = completed(this.linked, limits);
    this.linked = null;
    if (limits.some(({ name }) => !equal(meant[name], settings[name]))) this.set(meant);
  }

  /** Frames are drawn when the browser draws, the newest only; seldom for those who want little movement. */
  private show(frame: Frame): void {
    if (frame.kind === "structure") {
      this.structure = frame;
      return;
    }
    const scheduled = this.waiting !== null;
    this.waiting = frame;
    if (scheduled) return;
    const draw = () => {
      const now = performance.now();
      if (this.calm.matches && this.state?.running && now - this.last < CALM_MILLISECONDS) {
        setTimeout(draw, CALM_MILLISECONDS);
        return;
      }
      this.last = now;
      if (this.waiting) [this.live, this.waiting] = [this.waiting, null];
    };
    requestAnimationFrame(draw);
  }

  private note(kind: Note["kind"], text: string, by = 0): void {
    const key = ++this.count;
    const others = this.notes.filter((note) => note.kind !== kind || note.text !== text);
    this.notes = [...others, { key, kind, text, by }].slice(-4);
    if (kind === "steered") setTimeout(() => this.dismiss(key), 4000);
  }
}
