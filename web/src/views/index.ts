// The views of the page, by their names. One that is not here is not in the navigation.

import type { Component } from "svelte";
import type { Lab } from "../talk/lab.svelte";
import type { State } from "../talk/messages";
import Audit from "./Audit.svelte";
import Descend from "./Descend.svelte";
import Inside from "./Inside.svelte";
import Map from "./Map.svelte";
import Play from "./Play.svelte";
import Run from "./Run.svelte";
import Share from "./Share.svelte";

export type ViewName = "play" | "share" | "inside" | "descend" | "run" | "map" | "audit";

export const VIEWS: Readonly<Record<ViewName, Component<{ lab: Lab; told: State }>>> = {
  play: Play,
  share: Share,
  inside: Inside,
  descend: Descend,
  run: Run,
  map: Map,
  audit: Audit,
};
