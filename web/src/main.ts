import { mount } from "svelte";
import App from "./App.svelte";
import "./style.css";
import { unpack } from "./talk/recording";

const target = document.getElementById("app");
const packed = document.getElementById("recording")?.textContent;
const recorded = packed ? await unpack(packed) : null;
if (target) mount(App, { target, props: { recorded } });
