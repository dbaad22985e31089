// Runs a Latchkey of its own, in a folder of its own, and speaks to it as its operator does.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";

const PATIENCE = 20_000;

export const secret = () => randomBytes(36).toString("base64url");

export function fail(message) {
  throw new Error(message);
}

export async function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

// `flags` go to `latchkey serve`, `settings` to its environment. What it is to find there is in `bootstrap`. `statusOf` asks
// for a path of it, where that takes more than http.
export async function startService({ binary, folder, bootstrap, flags = [], settings = {}, listen, statusOf }) {
  listen ??= `127.0.0.1:${await freePort()}`;
  statusOf ??= async (path) => (await fetch(`http://${listen}${path}`)).status;
  const admin = { id: "latchkey-admin", secret: secret() };
  writeFileSync(join(folder, "bootstrap.json"), JSON.stringify(bootstrap), { mode: 0o600 });
  const log = openSync(join(folder, "log"), "w");
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("LATCHKEY__")));
  const child = spawn(resolve(binary), ["serve", ...flags], {
    cwd: folder,
    stdio: ["ignore", log, log],
    env: {
      ...environment,
      LATCHKEY__SERVER__LISTEN: listen,
      LATCHKEY__DATABASE__URL: `sqlite://${folder}/latchkey.db`,
      LATCHKEY__KEYS__DIRECTORY: join(folder, "keys"),
      LATCHKEY__BOOTSTRAP__ADMIN_SECRET: admin.secret,
      LATCHKEY__BOOTSTRAP__FILE: join(folder, "bootstrap.json"),
      ...settings,
    },
  });
  const ended = new Promise((done) => {
    child.once("exit", (code) => done(code));
    child.once("error", (error) => done(error.message));
  });
  const stop = async () => {
    if (child.exitCode === null) child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
    await ended;
    clearTimeout(timer);
  };
  const service = { origin: `http://${listen}`, listen, admin, stop };
  let early = null;
  ended.then((code) => (early = code));
  for (const until = Date.now() + 60_000; ; await new Promise((go) => setTimeout(go, 100))) {
    if (early !== null) fail(`latchkey ended (${early}) before it was ready\n${endOfLog(folder)}`);
    if ((await statusOf("/health/ready").catch(() => null)) === 200) return service;
    if (Date.now() > until) {
      await stop();
      fail("latchkey was not ready within a minute");
    }
  }
}

export const basic = ({ id, secret }) => `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;

export async function adminToken({ origin, admin }) {
  const answer = await fetch(`${origin}/oauth2/token`, {
    method: "POST",
    headers: { Authorization: basic(admin) },
    body: new URLSearchParams({ grant_type: "client_credentials", scope: "admin" }),
  });
  if (answer.status !== 200) fail(`no admin token: ${answer.status} ${await answer.text()}`);
  return (await answer.json()).access_token;
}

export function endOfLog(folder) {
  const log = readFileSync(join(folder, "log"), { encoding: "utf8", flag: "a+" });
  return `--- the end of latchkey's log\n${log.split("\n").slice(-20).join("\n")}`;
}

// Tells what went wrong, clears up, and ends the program.
export function conclude({ folder, faults, screenshots }) {
  if (faults.length) {
    console.log(endOfLog(folder));
    for (const fault of new Set(faults)) console.log(`FAULT: ${fault}`);
    console.log(`screenshots: ${screenshots}`);
  }
  rmSync(folder, { recursive: true, force: true });
  process.exit(faults.length ? 1 : 0);
}
