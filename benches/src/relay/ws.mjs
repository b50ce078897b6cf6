// A relay on node with the package `ws`. It does the same work as the other rivals: JSON, checks, look-up, event.
// Usage: node ws.mjs DIRECTORY [CERT KEY]. The package is in DIRECTORY/node_modules. If a certificate and its key are
// given, as PEM, the relay uses TLS 1.3. It prints its port, and exits when stdin is closed.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.argv[2], "package.json"));
const { WebSocketServer } = require("ws");

const ACTIONS = new Set(["SDP_OFFER", "SDP_ANSWER", "ICE_CANDIDATE"]);
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
const ID = /^[a-zA-Z0-9_.-]{1,256}$/;
const PAYLOAD_CHARACTERS_MAX = 32768;

const channels = new Map();

function place(url) {
  const query = new URLSearchParams(url.slice(url.indexOf("?") + 1));
  return { channel: query.get("X-Amz-ChannelARN").split("/")[1], viewer: query.get("X-Amz-ClientId") };
}

function relay(channel, viewer, text) {
  const { action, messagePayload, recipientClientId } = JSON.parse(text);
  const isRight = ACTIONS.has(action) && typeof messagePayload === "string" &&
    messagePayload.length <= PAYLOAD_CHARACTERS_MAX && messagePayload.length % 4 === 0 && BASE64.test(messagePayload);
  if (!isRight || (viewer === null && !ID.test(recipientClientId))) return;
  const event = { messagePayload, messageType: action };
  if (viewer !== null) event.senderClientId = viewer;
  const recipient = viewer === null ? channel.viewers.get(recipientClientId) : channel.master;
  recipient?.send(JSON.stringify(event));
}

const [cert, key] = process.argv.slice(3).map((path) => readFileSync(path));
const http = cert ? createTlsServer({ cert, key, minVersion: "TLSv1.3", ciphers: "TLS_AES_128_GCM_SHA256" }) : createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false, clientTracking: false });
http.on("tlsClientError", () => {});
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(http.address().port));
server.on("connection", (socket, request) => {
  const { channel: name, viewer } = place(request.url);
  let channel = channels.get(name);
  if (channel === undefined) channels.set(name, (channel = { master: undefined, viewers: new Map() }));
  if (viewer === null) channel.master = socket;
  else channel.viewers.set(viewer, socket);
  socket.on("message", (text) => relay(channel, viewer, text));
  socket.on("error", () => {});
  socket.on("close", () => {
    if (viewer === null && channel.master === socket) channel.master = undefined;
    if (viewer !== null && channel.viewers.get(viewer) === socket) channel.viewers.delete(viewer);
    if (channel.master === undefined && channel.viewers.size === 0) channels.delete(name);
  });
});
process.stdin.on("end", () => process.exit(0)).resume();
