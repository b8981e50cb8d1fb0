import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// The page is built into the Python package, which serves it; every address in it is relative, since a token comes first.
export default defineConfig({
  base: "./",
  plugins: [svelte()],
  build: { outDir: "../src/commonweight/lab/static", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: false, target: "es2022" },
});
