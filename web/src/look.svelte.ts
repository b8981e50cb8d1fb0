// Light or dark, as the person or the system says; remembered. And how large drawings are.

import { DARK, LIGHT, type Palette } from "./draw/palette";

const KEY = "commonweight-lab-look";
type Choice = "system" | "light" | "dark";

class Look {
  choice = $state<Choice>((localStorage.getItem(KEY) as Choice | null) ?? "system");
  private readonly system = matchMedia("(prefers-color-scheme: dark)");
  private systemDark = $state(this.system.matches);
  private readonly projector = matchMedia("(min-width: 1600px)");
  private afar = $state(this.projector.matches);
  /** Drawings grow with the letters of the page: style.css makes them 18 pixels instead of 15 there. */
  readonly scale = $derived(this.afar ? 1.2 : 1);
  readonly dark = $derived(this.choice === "system" ? this.systemDark : this.choice === "dark");
  readonly palette: Palette = $derived(this.dark ? DARK : LIGHT);

  constructor() {
    this.system.addEventListener("change", () => (this.systemDark = this.system.matches));
    this.projector.addEventListener("change", () => (this.afar = this.projector.matches));
  }

  toggle(): void {
    this.choice = this.dark ? "light" : "dark";
    localStorage.setItem(KEY, this.choice);
  }
}

export const look = new Look();
