// What the facts of the view Share say of a net whose layers share with each other.

type Uses = readonly (readonly [module: string, times: number])[];

export interface PulledWeight {
  readonly at: readonly number[];
  readonly value: number;
  readonly adds: readonly number[];
  readonly sum: number;
}

export interface TiedMatrix {
  readonly name: string;
  readonly weights: number;
  readonly uses: Uses;
  readonly pulled: readonly PulledWeight[];
}

export interface TieGraph {
  readonly name: string;
  readonly equations: readonly string[];
  readonly weights: number;
  readonly uses: Uses;
  readonly matrices: readonly TiedMatrix[];
}
