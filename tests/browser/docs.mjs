// Uses /docs as a newcomer does, in a real browser: "Authorize" and "Try it out" for the password grant, for a
// refresh and, in the admin document, for a key rotation. The page must work offline and under its own
// Content-Security-Policy, so a request to another origin, a CSP violation or an error in the console fails.
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { launch, plain, watch } from "./chromium.mjs";
import { adminToken, conclude, fail, secret, startService } from "./service.mjs";

const { values: args } = parseArgs({
  options: {
    binary: { type: "string", default: "target/debug/latchkey" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    screenshots: { type: "string", default: ".check/screenshots" },
  },
});

const WEB_APP = { id: "web-app", secret: secret() };
const ALICE = { username: "alice", password: `correct horse ${secret()}` };
const PATIENCE = 20_000;

function step(text) {
  console.log(`    ${text}`);
}

const BOOTSTRAP = {
  clients: [
    {
      client_id: WEB_APP.id,
      client_secret: WEB_APP.secret,
      client_name: "A web application",
      grant_types: ["password", "refresh_token"],
      scope: "read write",
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  users: [ALICE],
};

// --- the page --------------------------------------------------------------------------------------------

// Operations are found by method and path, whatever they are called.
function operation(page, method, path) {
  return page
    .locator(".opblock", { has: page.locator(`.opblock-summary-path[data-path="${path}"]`) })
    .filter({ has: page.locator(".opblock-summary-method", { hasText: new RegExp(`^${method}$`, "i") }) });
}

// Opens "Authorize" and fills in whatever the document offers that `credentials` has something for.
async function authorize(page, credentials) {
  await page.locator(".auth-wrapper .btn.authorize").first().click();
  const dialog = page.locator(".dialog-ux .modal-ux");
  await dialog.waitFor({ timeout: PATIENCE });
  const done = [];
  for (const container of await dialog.locator(".auth-container").all()) {
    const title = (await container.locator("h4").first().innerText()).trim().replace(/\s+/g, " ");
    const field = (name) => container.locator(name).first();
    const has = async (name) => (await container.locator(name).count()) > 0;
    if (credentials.bearer && (await has("#auth-bearer-value"))) {
      await field("#auth-bearer-value").fill(credentials.bearer);
    } else if (credentials.basic && (await has("#auth-basic-username"))) {
      await field("#auth-basic-username").fill(credentials.basic.id);
      await field("#auth-basic-password").fill(credentials.basic.secret);
    } else if (credentials.user && (await has("#oauth_username"))) {
      // An OAuth 2 scheme with the password flow: this button asks the token endpoint itself.
      await field("#oauth_username").fill(credentials.user.username);
      await field("#oauth_password").fill(credentials.user.password);
      if (await has("#password_type")) await field("#password_type").selectOption("basic");
      await field("#client_id_password, #client_id").fill(credentials.basic.id);
      await field("#client_secret_password, #client_secret").fill(credentials.basic.secret);
    } else {
      continue;
    }
    await container.locator("button.authorize").first().click();
    await container.getByRole("button", { name: /logout|remove authorization/i }).first().waitFor({ timeout: PATIENCE });
    done.push(title);
  }
  if (done.length === 0) fail(`"Authorize" has nothing to fill in for ${Object.keys(credentials)}`);
  await page.screenshot({ path: shot(`authorized-${Object.keys(credentials)[0]}`) });
  await dialog.locator("button.btn-done, .close-modal").first().click();
  await dialog.waitFor({ state: "detached", timeout: PATIENCE });
  step(`"Authorize" filled in: ${done.join(", ")}`);
}

// "Try it out" with these values, and "Execute". Returns what the service answered, once the page shows it.
async function tryOut(page, { method, path, form, json, name }) {
  const block = operation(page, method, path);
  if ((await block.count()) !== 1) fail(`${await block.count()} operations ${method} ${path} on the page`);
  if (!(await block.evaluate((element) => element.classList.contains("is-open")))) {
    await block.locator(".opblock-summary-control").first().click();
  }
  const button = block.locator("button.try-out__btn:not(.reset)");
  await button.waitFor({ timeout: PATIENCE });
  if (!(await button.evaluate((element) => element.classList.contains("cancel")))) await button.click();
  await block.locator("button.execute").waitFor({ timeout: PATIENCE });
  if (form) await fillForm(block, form);
  else if (json) await block.locator("textarea").first().fill(JSON.stringify(json, null, 2));

  const [answer] = await Promise.all([
    page.waitForResponse(
      (response) => response.request().method() === method && new URL(response.url()).pathname === path,
      { timeout: PATIENCE },
    ),
    block.locator("button.execute").click(),
  ]);
  const shown = block.locator(".live-responses-table tbody .response-col_status").first();
  await shown.filter({ hasText: String(answer.status()) }).waitFor({ timeout: PATIENCE });
  await block.scrollIntoViewIfNeeded();
  await page.screenshot({ path: shot(name), fullPage: true });
  const request = answer.request();
  return {
    status: answer.status(),
    text: await answer.text(),
    sent: request.postData(),
    authorization: (await request.allHeaders()).authorization ?? "",
  };
}

async function fillForm(block, form) {
  const rows = block.locator("tr[data-property-name]");
  if ((await rows.count()) === 0) {
    // A schema of alternatives has no field per parameter: Swagger UI shows one box for the whole form, as JSON.
    const box = block.locator("textarea").first();
    if ((await box.count()) === 0) fail("the form has neither fields nor a box for the body");
    await box.fill(JSON.stringify(form, null, 2));
    return;
  }
  const left = new Set(Object.keys(form));
  for (const row of await rows.all()) {
    const property = await row.getAttribute("data-property-name");
    const value = form[property] ?? "";
    left.delete(property);
    const select = row.locator("select").first();
    const box = row.locator("input[type=text], input[type=password], input:not([type]), textarea").first();
    if (await select.count()) {
      const options = await select.locator("option").evaluateAll((all) => all.map((option) => option.value));
      if (options.includes(value)) await select.selectOption(value);
      else if (value) fail(`the form does not offer ${property}=${value}, only ${options}`);
    } else if (await box.count()) {
      if ((await box.inputValue()) !== value) await box.fill(value);
    } else if (value) {
      fail(`the form has no field to type ${property} into`);
    }
  }
  if (left.size) fail(`the form has no field for ${[...left]}`);
  // What stays empty is not sent. Each click takes its button away, so the first one is asked for anew.
  const removes = rows.locator("button.json-schema-form-item-remove");
  for (let left = await removes.count(); left > 0; left = await removes.count()) {
    await removes.first().click();
    await removes.nth(left - 1).waitFor({ state: "detached", timeout: PATIENCE });
  }
  for (const row of await rows.all()) {
    const sendEmpty = row.locator("input[type=checkbox]").first();
    if ((await sendEmpty.count()) && (await sendEmpty.isEnabled()) && (await sendEmpty.isChecked())) await sendEmpty.uncheck();
  }
}

async function openAdminDocument(page, origin) {
  const loaded = page.waitForResponse((response) => new URL(response.url()).pathname === "/admin/openapi.json", {
    timeout: PATIENCE,
  });
  loaded.catch(() => {}); // awaited below
  const selector = page.locator("select", { has: page.locator("option", { hasText: /admin/i }) }).first();
  if (await selector.count()) {
    const option = selector.locator("option", { hasText: /admin/i }).first();
    await selector.selectOption(await option.getAttribute("value"));
    step("the page's own selector opens the admin document");
  } else {
    const link = page.locator('a[href*="admin"]').first();
    if (!(await link.count())) fail("/docs offers no way to the admin document");
    await link.click();
    step("a link of the page opens the admin document");
  }
  if ((await loaded).status() !== 200) fail("GET /admin/openapi.json is not answered with 200");
  await operation(page, "POST", "/admin/v1/keys/rotate").waitFor({ timeout: PATIENCE });
}

// --- what must hold --------------------------------------------------------------------------------------

function checkPolicy(response) {
  const policy = response.headers()["content-security-policy"] ?? fail("/docs has no Content-Security-Policy");
  const directives = new Map(
    policy.split(";").map((one) => {
      const [name, ...sources] = one.trim().split(/\s+/);
      return [name.toLowerCase(), sources];
    }),
  );
  const scripts = directives.get("script-src") ?? directives.get("default-src") ?? fail("CSP leaves scripts open");
  for (const source of scripts) {
    if (/^('unsafe-inline'|'unsafe-eval'|\*|https?:.*|data:)$/.test(source)) fail(`CSP allows scripts from ${source}`);
  }
}

let shots = 0;
function shot(name) {
  shots += 1;
  return join(args.screenshots, `${String(shots).padStart(2, "0")}-${name}.png`);
}

function expectTokens(answer, what) {
  if (answer.status !== 200) fail(`${what}: ${answer.status} ${answer.text}\nsent: ${answer.sent}`);
  const tokens = JSON.parse(answer.text);
  if (!tokens.access_token || !tokens.refresh_token) fail(`${what}: no tokens in ${Object.keys(tokens)}`);
  return tokens;
}

async function walk(service, page) {
  const { origin } = service;
  const response = await page.goto(`${origin}/docs`, { waitUntil: "load" });
  if (response.status() !== 200) fail(`GET /docs: ${response.status()}`);
  checkPolicy(response);
  await operation(page, "POST", "/oauth2/token").waitFor({ timeout: PATIENCE });
  await page.screenshot({ path: shot("public"), fullPage: true });
  step("the public document is shown");

  await authorize(page, { basic: WEB_APP, user: ALICE });
  const token = { method: "POST", path: "/oauth2/token" };
  const first = await tryOut(page, { ...token, name: "password", form: { grant_type: "password", ...ALICE } });
  const login = expectTokens(first, "password grant");
  if (!/^basic /i.test(first.authorization)) fail("the page did not send what was filled in at Authorize");
  step("password grant: 200");

  const form = { grant_type: "refresh_token", refresh_token: login.refresh_token };
  const renewed = expectTokens(await tryOut(page, { ...token, name: "refresh", form }), "refresh");
  if (renewed.access_token === login.access_token) fail("the refresh gave the old access token");
  if (renewed.refresh_token === login.refresh_token) fail("the refresh gave the old refresh token");
  step("refresh: 200, new tokens");

  await openAdminDocument(page, origin);
  await page.screenshot({ path: shot("admin"), fullPage: true });
  await authorize(page, { bearer: await adminToken(service) });
  const published = async () => (await (await fetch(`${origin}/.well-known/jwks.json`)).json()).keys.map((key) => key.kid);
  const before = await published();
  const rotated = await tryOut(page, {
    method: "POST",
    path: "/admin/v1/keys/rotate",
    name: "rotation",
    json: { alg: "ES256", mode: "now", force: true },
  });
  if (rotated.status !== 200) fail(`rotation: ${rotated.status} ${rotated.text}`);
  const after = await published();
  if (after.every((kid) => before.includes(kid))) fail("the rotation published no new key");
  step("rotation: 200, a new key is published");
}

const folder = mkdtempSync(join(tmpdir(), "latchkey-browser-"));
mkdirSync(args.screenshots, { recursive: true });
const faults = [];
let service, browser;
try {
  service = await startService({ binary: args.binary, folder, bootstrap: BOOTSTRAP });
  browser = await launch(args.chromium);
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 1000 } })).newPage();
  page.setDefaultTimeout(PATIENCE);
  await watch(page, { origins: [service.origin], faults });
  try {
    await walk(service, page);
  } catch (error) {
    await page.screenshot({ path: shot("failed"), fullPage: true }).catch(() => {});
    throw error;
  }
} catch (error) {
  faults.unshift(plain(error));
} finally {
  await browser?.close();
  await service?.stop();
}
conclude({ folder, faults, screenshots: args.screenshots });
