/**
 * Handlers for the weir WebSocket server in AssemblyScript.
 *
 *     import { Conn, Message, OnMessage, serve, Status } from "weir-assemblyscript";
 *
 *     class Echo implements OnMessage {
 *       message(c: Conn, m: Message): Status {
 *         return c.send(m);
 *       }
 *     }
 *
 *     serve(new Echo());
 *
 * @module
 */

export { Kind, Level, Status, statusText } from "./assembly/abi";
export { lastStatus } from "./assembly/buffer";
export { Conn } from "./assembly/conn";
export { generation, OnClose, OnDrain, OnInit, OnMessage, OnOpen, OnRestore, OnSave, OnTimer, OnUpgrade, serve } from "./assembly/handler";
export { Json, JsonType, JsonWriter } from "./assembly/json";
export { Closed, Message, Payload } from "./assembly/payload";
export { addMetric, count, has, key, log, now, publish, random, saveState, uptime } from "./assembly/server";
export { Upgrade } from "./assembly/upgrade";
