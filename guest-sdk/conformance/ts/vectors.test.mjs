// Holds the fake server of weir/testing to what a real server does.

import { Server } from "weir/testing";

import { playVectors } from "../vectors.mjs";
import { guest } from "./guest.ts";

playVectors((options) => Server.start(guest(), options), guest);
