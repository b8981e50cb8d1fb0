// Light or dark, as the person or the system says; remembered.

import { DARK, LIGHT, type Palette } from "./draw/palette";

const KEY = "commonweight-lab-look";
type Choice = "system" | "light" | "dark";

class Look {
  choice = $state<Choice>((localStorage.getItem(KEY) as Choice | null) ?? "system");
  private readonly system = matchMedia("(prefers-color-scheme: dark)");
  private systemDark = $state(this.system.matches);
  readonly dark = $derived(this.choice === "system" ? this.systemDark : this.choice === "dark");
  readonly palette: Palette = $derived(this.dark ? DARK : LIGHT);

  constructor() {
    this.system.addEventListener("change", () => (this.systemDark = this.system.matches));
  }

  toggle(): void {
    this.choice = this.dark ? "light" : "dark";
    localStorage.setItem(KEY, this.choice);
  }
}

export const look = new Look();
