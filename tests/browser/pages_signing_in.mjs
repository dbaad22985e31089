// Signing in: the good way, and everything that goes wrong on it.
import { fail } from "./service.mjs";
import { Visitor, expect } from "./visitor.mjs";

async function goodWay(world) {
  const alice = await world.person("alice");
  const visitor = await Visitor.arrive(world);
  const request = world.request(world.clients.web);
  await visitor.open(request);
  await visitor.seesSignIn();
  await visitor.expectFocus("username");
  await world.looks.at("sign-in", visitor.page);
  await visitor.signIn(alice);
  await world.looks.at("consent", visitor.page);
  await visitor.allow();
  const { claims } = await visitor.tokens(request);
  expect(claims.amr, ["pwd"], "amr");

  const cookies = await visitor.cookies();
  expect(Object.keys(cookies).sort(), ["latchkey", "latchkey-visit"], "cookies");
  for (const { name, httpOnly, sameSite, path } of Object.values(cookies)) {
    expect({ httpOnly, sameSite, path }, { httpOnly: true, sameSite: "Lax", path: "/" }, name);
  }
  if (cookies["latchkey-visit"].expires !== -1) fail("the visit outlives its browser");

  // Who is signed in and has consented is sent straight on, and nobody else sees a page under prompt=none.
  const again = world.request(world.clients.web, { prompt: "none" });
  await visitor.open(again);
  expect((await visitor.tokens(again)).claims.sub, claims.sub, "sub");
  const stranger = await Visitor.arrive(world);
  const refused = world.request(world.clients.web, { prompt: "none" });
  await stranger.open(refused);
  expect((await stranger.answered(refused)).parameters.error, "login_required", "error");
}

async function wrongPassword(world) {
  const user = await world.person("bob");
  const visitor = await Visitor.arrive(world, { statuses: [400] });
  const { page } = visitor;
  const request = world.request(world.clients.own, { login_hint: "bob" });
  await visitor.open(request);
  expect(await page.locator("#username").inputValue(), "bob", "login_hint");
  await visitor.expectFocus("password");
  await visitor.type(user, { password: "wrong" });
  await visitor.seesMessage(/don’t match/);
  expect(await page.locator("#message").getAttribute("role"), "alert", "role");
  expect(await page.locator("#username").inputValue(), "bob", "the name is kept");
  expect(await page.locator("#password").inputValue(), "", "the password is not");
  await visitor.expectFocus("password");
  await world.looks.at("sign-in-refused", page);
  const shown = async () => (await page.locator("main").innerText()).replace(/\s+/g, " ");
  const known = await shown();

  // Loading that page again sends the same form again, to the same answer.
  await page.reload();
  await visitor.seesMessage(/don’t match/);
  await visitor.type({ username: "nobody-by-that-name" }, { password: "wrong" });
  await page.waitForFunction(() => document.querySelector("#username").value === "nobody-by-that-name");
  await visitor.seesMessage(/don’t match/);
  expect(await shown(), known, "a name that nobody has");
  await visitor.type(user);
  await visitor.tokens(request);
}

async function throttled(world) {
  const user = await world.person("carol");
  const visitor = await Visitor.arrive(world, { statuses: [400, 429] });
  const request = world.request(world.clients.own);
  await visitor.open(request);
  for (let status = 400, tries = 0; status !== 429; tries += 1) {
    if (tries > 6) fail("seven wrong passwords, and an eighth is free");
    const answer = visitor.page.waitForResponse((response) => response.request().method() === "POST");
    await visitor.type(user, { password: "wrong" });
    status = (await answer).status();
    await visitor.page.locator("#message").waitFor();
  }
  await visitor.seesMessage(/Too many attempts\. Try again in \d+ (second|minute)/);
  await world.looks.at("sign-in-throttled", visitor.page);
  await world.advance("16m");
  await visitor.type(user);
  await visitor.tokens(request);
}

async function expired(world) {
  const user = await world.person("dave");
  const visitor = await Visitor.arrive(world, { statuses: [400] });
  const { page } = visitor;
  await visitor.open(world.request(world.clients.web));
  await visitor.seesSignIn();
  await world.advance("31m");
  await visitor.type(user);
  await visitor.seesHeading(/took too long/);
  await world.looks.at("error-expired", page);
  await page.goBack();
  await visitor.seesHeading(/took too long/);

  const request = world.request(world.clients.web);
  await visitor.open(request);
  await visitor.signIn(user);
  await world.advance("31m");
  await page.reload();
  await visitor.seesHeading(/took too long/);
  const anew = world.request(world.clients.web);
  await visitor.open(anew);
  await visitor.allow();
  await visitor.tokens(anew);
}

async function promptLogin(world) {
  const user = await world.person("erin");
  const visitor = await Visitor.arrive(world);
  const { claims: before } = await visitor.signedIn(user);
  const secret = (await visitor.cookies()).latchkey.value;
  await world.advance("5m");
  const request = world.request(world.clients.web, { prompt: "login" });
  await visitor.open(request);
  await visitor.seesMessage(/confirm that it’s you/);
  await world.looks.at("sign-in-again", visitor.page);
  await visitor.page.reload();
  await visitor.seesSignIn();
  await visitor.type(user);
  const { claims } = await visitor.tokens(request);
  if (claims.auth_time < before.auth_time + 300) fail("auth_time is that of the first sign-in");
  if ((await visitor.cookies()).latchkey.value === secret) fail("the cookie is what it was before the password");

  // max_age asks for the same, once it has passed.
  const young = world.request(world.clients.web, { max_age: "600" });
  await visitor.open(young);
  await visitor.tokens(young);
  await world.advance("11m");
  const old = world.request(world.clients.web, { max_age: "600" });
  await visitor.open(old);
  await visitor.seesSignIn();
}

async function lostCookies(world) {
  const user = await world.person("frank");
  const visitor = await Visitor.arrive(world, { statuses: [400] });
  const request = world.request(world.clients.web);
  await visitor.open(request);
  await visitor.seesSignIn();
  await visitor.context.clearCookies();
  await visitor.type(user);
  await visitor.seesMessage(/open for too long/);
  await world.looks.at("sign-in-stale", visitor.page);
  await visitor.signIn(user);
  await visitor.context.clearCookies();
  await visitor.allow();
  await visitor.seesHeading(/out of date/);
  await world.looks.at("error-stale-form", visitor.page);
}

async function nowhere(world) {
  const visitor = await Visitor.arrive(world, { statuses: [400, 404] });
  const { page } = visitor;
  const evil = { redirect_uri: `${world.application.origin}/callback/../evil` };
  await visitor.open(world.request(world.clients.web, evil));
  await visitor.seesHeading(/don’t know where this came from/);
  await page.locator("summary").click();
  await world.looks.at("error-untrusted-client", page);
  await visitor.open(world.request({ ...world.clients.web, client_id: "unknown" }));
  await visitor.seesHeading(/don’t know where this came from/);
  await page.goto(`${world.issuer}/login?ticket=forged`);
  await visitor.seesHeading(/can’t be completed/);
  await world.looks.at("error-malformed", page);
  await page.goto(`${world.issuer}/pages/nothing`);
  await visitor.seesHeading(/not found/);
  await world.looks.at("error-not-found", page);
}

export const signingIn = {
  "sign-in and consent": goodWay,
  "wrong password": wrongPassword,
  throttled,
  "expired login": expired,
  "prompt=login and max_age": promptLogin,
  "lost cookies": lostCookies,
  "requests that lead nowhere": nowhere,
};
