// Somebody at a browser of their own, and what they do there.
import { watch } from "./chromium.mjs";
import { fail } from "./service.mjs";

export const PATIENCE = 15_000;
export const PHONE = { width: 390, height: 844 };
export const DESKTOP = { width: 1280, height: 900 };

export class Visitor {
  // `statuses` are the error statuses that this visitor is to meet, `options` those of a playwright context.
  static async arrive(world, { statuses = [], ...options } = {}) {
    const visitor = new Visitor();
    visitor.world = world;
    visitor.statuses = new Set(statuses);
    visitor.context = await world.browser.newContext({ viewport: DESKTOP, ...options });
    visitor.context.setDefaultTimeout(PATIENCE);
    world.contexts.push(visitor.context);
    visitor.page = await visitor.tab();
    return visitor;
  }

  // One more tab of the same browser.
  async tab() {
    const page = await this.context.newPage();
    const { origins, faults } = this.world;
    await watch(page, { origins, faults, statuses: this.statuses });
    return page;
  }

  async open(request, page = this.page) {
    return page.goto(request.url);
  }

  async type(user, { page = this.page, password = user.password } = {}) {
    await page.locator("#username").fill(user.username);
    await page.locator("#password").fill(password);
    await page.locator("#sign-in").click();
  }

  // Signs in to a page that is there, to the consent page.
  async signIn(user, page = this.page) {
    await this.type(user, { page });
    await this.seesConsent(page);
  }

  async allow(page = this.page) {
    await page.locator("#allow").click();
  }

  async seesSignIn(page = this.page) {
    await page.locator("#sign-in").waitFor();
  }

  async seesConsent(page = this.page) {
    await page.locator("#allow").waitFor();
  }

  async seesMessage(pattern, page = this.page) {
    await page.locator("#message").filter({ hasText: pattern }).waitFor();
  }

  async seesHeading(pattern, page = this.page) {
    await page.locator("h1").filter({ hasText: pattern }).waitFor();
  }

  // What the application gets, and the browser at it.
  async answered(request, { page = this.page, count = 1, application = this.world.application } = {}) {
    const answer = await application.answer(request, count);
    await page.waitForURL((url) => url.origin === application.origin, { timeout: PATIENCE });
    return answer;
  }

  // The same, with a code that is good.
  async tokens(request, options = {}) {
    return this.world.redeem(request, await this.answered(request, options));
  }

  // Everything at once, for scenarios that begin afterwards.
  async signedIn(user, client = this.world.clients.web) {
    const request = this.world.request(client);
    await this.open(request);
    await this.type(user);
    if (!client.skip_consent) await this.allow();
    return this.tokens(request);
  }

  async cookies() {
    const cookies = await this.context.cookies(this.world.issuer);
    return Object.fromEntries(cookies.map((cookie) => [cookie.name, cookie]));
  }

  // Of what is focused: its id, or its text.
  async focused() {
    return this.page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  }

  async expectFocus(id) {
    const focused = await this.focused();
    if (focused !== id) fail(`${focused} has the focus, not ${id}`);
  }
}

export function expect(actual, expected, what) {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) fail(`${what}: ${left}, not ${right}`);
}
