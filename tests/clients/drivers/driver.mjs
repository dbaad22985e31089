// Drives examples/clients/typescript, compiled into the folder that is the argument, as ../driven.py says.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const compiled = pathToFileURL(`${process.argv[2]}/`);
const { LoginRequired, Refused, Session, Unavailable } = await import(new URL("session.js", compiled));
const { load, saveTo } = await import(new URL("file.js", compiled));

const { ISSUER, CLIENT_ID, CLIENT_SECRET, FILE, PAUSE, TIMEOUT, PATIENCE } = process.env;
const toFile = saveTo(FILE);
let ahead = 0;

function say(members) {
  process.stdout.write(`${JSON.stringify(members)}\n`);
}

async function pause(where) {
  if (PAUSE !== where) return;
  say({ paused: where });
  await new Promise(() => {});
}

async function save(tokens) {
  await pause("before-save");
  await toFile(tokens);
  await pause("after-save");
}

async function one(refused) {
  try {
    return { token: await session.accessToken(refused) };
  } catch (error) {
    const kinds = [[LoginRequired, "login_required"], [Refused, "refused"], [Unavailable, "unavailable"]];
    const [, kind] = kinds.find(([type]) => error instanceof type) ?? [, "fault"];
    return { kind, said: error.message };
  }
}

async function tokens({ id, callers, refused }) {
  say({ id, answers: await Promise.all(Array.from({ length: callers }, () => one(refused))) });
}

const client = { issuer: ISSUER, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, timeout: Number(TIMEOUT) };
const session = new Session(client, await load(FILE), save, Number(PATIENCE), () => Date.now() / 1000 + ahead);

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order.do === "clock") {
    ahead = order.ahead;
    say({ id: order.id });
  } else {
    void tokens(order);
  }
}
process.exit();
