// node --import ./sdk/testing/register.mjs --test: the modules "weir" and "weir/testing" are those of this package, wherever
// it lies, and TypeScript can be imported.

import { register } from "node:module";

register("./hooks.mjs", import.meta.url);
