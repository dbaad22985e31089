// Walks through the pages as people do, in a real browser, from an application on another site and back to it. Nothing
// may appear in the console, nothing may be held back by a content security policy, and axe-core finds nothing serious.
import { mkdirSync, mkdtempSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Application, redeem, registrations, requestOf } from "./application.mjs";
import { launch, plain } from "./chromium.mjs";
import { Looks } from "./looks.mjs";
import { clients } from "./pages_clients.mjs";
import { leaving } from "./pages_leaving.mjs";
import { self } from "./pages_self.mjs";
import { signingIn } from "./pages_signing_in.mjs";
import { tabs } from "./pages_tabs.mjs";
import { tls } from "./pages_tls.mjs";
import { ways } from "./pages_ways.mjs";
import { adminToken, conclude, fail, secret, startService } from "./service.mjs";

const { values: args } = parseArgs({
  options: {
    binary: { type: "string", default: "target/debug/latchkey" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    screenshots: { type: "string", default: ".check/screenshots/pages" },
    only: { type: "string", default: "" },
  },
});

const SCENARIOS = { ...signingIn, ...tabs, ...clients, ...ways, ...leaving, ...tls, ...self };

// What all scenarios share.
async function prepare(folder) {
  const other = await Application.start({ host: "127.0.0.1" });
  const application = await Application.start({ host: "localhost", onward: other.origin });
  const hasIPv6 = Object.values(networkInterfaces()).flat().some(({ address }) => address === "::1");
  const devices = hasIPv6 ? [other, await Application.start({ host: "::1" })] : [other];
  const registered = registrations(application, other);
  const bootstrap = { clients: Object.values(registered), users: [] };
  const service = await startService({ binary: args.binary, folder, bootstrap, flags: ["--test-clock"] });
  const issuer = service.origin;
  const discovery = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
  return {
    ...{ args, folder, service, issuer, discovery, application, other, devices, clients: registered },
    origins: [issuer, application.origin, ...devices.map(({ origin }) => origin), "com.example.fieldnotes:"],
    looks: new Looks(args.screenshots),
    faults: [],
    contexts: [],
    request: (client, over) => requestOf(issuer, client, over),
    redeem: (request, answer) => redeem(issuer, issuer, request, answer),
    advance: (span) => post(`${issuer}/test/clock`, { advance: span }),
    // A user whom nobody has used before.
    person: async (username) => {
      const user = { username, password: `correct horse ${secret()}` };
      await post(`${issuer}/admin/v1/users`, user, await adminToken(service));
      return user;
    },
  };
}

async function post(url, body, token) {
  const headers = { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) fail(`POST ${url}: ${answer.status} ${await answer.text()}`);
}

// A page that hangs is a fault like another one.
function within(seconds, promise) {
  const timeout = new Promise((_, reject) => setTimeout(reject, seconds * 1000, new Error(`not done after ${seconds}s`)).unref());
  return Promise.race([promise, timeout]);
}

// A scenario may say what it has seen.
async function play(world, name, scenario) {
  const before = world.faults.length;
  const started = Date.now();
  let told;
  try {
    told = await within(60, scenario(world));
  } catch (error) {
    const pages = world.contexts.flatMap((context) => context.pages());
    for (const [at, page] of pages.entries()) {
      const path = join(args.screenshots, `failed-${name.replaceAll(/\W+/g, "-")}-${at}.png`);
      await page.screenshot({ path, fullPage: true }).catch(() => {});
      console.log(`    ${page.url()}`);
    }
    world.faults.push(plain(error));
  }
  for (const context of world.contexts.splice(0)) await context.close();
  const faults = world.faults.slice(before);
  for (const [at, fault] of faults.entries()) world.faults[before + at] = `${name}: ${fault}`;
  const result = faults.length ? "FAILED" : (told ?? "ok");
  console.log(`    ${name}: ${result} (${((Date.now() - started) / 1000).toFixed(1)}s)`);
}

const folder = mkdtempSync(join(tmpdir(), "latchkey-pages-"));
mkdirSync(args.screenshots, { recursive: true });
let faults = [];
let world, browser;
try {
  browser = await launch(args.chromium);
  world = await prepare(folder);
  world.browser = browser;
  faults = world.faults;
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    if (name.includes(args.only)) await play(world, name, scenario);
  }
  console.log(`    ${world.looks.seen} pages looked at: ${args.screenshots}`);
} catch (error) {
  faults.unshift(plain(error));
} finally {
  await browser?.close();
  const running = world ? [world.application, ...world.devices, world.service] : [];
  await Promise.all(running.map((one) => one.stop()));
}
conclude({ folder, faults, screenshots: args.screenshots });
