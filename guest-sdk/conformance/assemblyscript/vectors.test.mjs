// Holds the fake server of weir-assemblyscript/testing to what a real server does.
import { compile, start } from "weir-assemblyscript/testing";
import { playVectors } from "../vectors.mjs";

const wasm = await compile(import.meta.dirname);

playVectors((options) => start(wasm, options));
