// The server for tests of handlers under Node. index.d.ts documents it.

import { eventsOf, failed, statusOf } from "../serve.mjs";
import { within } from "./bound.mjs";
import * as memory from "./host.mjs";

export { Client } from "./host.mjs";

const late =
  "the handler waits for something that does not come within its event: only what is there already can be awaited, and " +
  "timers come as events of their own";

export class Server extends memory.Server {
  constructor(handler, options) {
    super(null, options);
    this.guest = this.guestOf(handler);
  }

  async replace(handler) {
    return super.replace(handler && this.guestOf(handler));
  }

  guestOf(handler) {
    const events = eventsOf(handler);
    return {
      handles: events.reduce((set, handle, event) => (handle ? set | (1n << BigInt(event)) : set), 0n),
      event: (event, conn, arg, payload) =>
        within(this.host, async () => {
          try {
            const result = events[event](conn, Number(arg), payload);
            return statusOf(event, result instanceof Promise ? await untilTheEnd(result) : result);
          } catch (error) {
            return failed(event, error);
          }
        }),
    };
  }
}

// Waits for a promise until no more jobs of promises are left to do, which is when an event ends.
function untilTheEnd(promise) {
  const error = Object.assign(new Error(late), { stack: "" }); // where we wait is of no interest
  return Promise.race([promise, new Promise((_, reject) => setImmediate(reject, error))]);
}
