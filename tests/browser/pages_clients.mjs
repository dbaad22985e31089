// What applications differ in: how they are answered, and where their answers lead. Chromium holds every step of the way
// after a form, redirects by the application too, against the page's `form-action`.
import { fail } from "./service.mjs";
import { Visitor, expect } from "./visitor.mjs";

async function deny(world) {
  const user = await world.person("nina");
  const visitor = await Visitor.arrive(world);
  const request = world.request(world.clients.web);
  await visitor.open(request);
  await visitor.signIn(user);
  await visitor.page.locator("#deny").click();
  const { parameters } = await visitor.answered(request);
  expect([parameters.error, parameters.iss], ["access_denied", world.issuer], "the answer");
  // Nothing was remembered: the next request asks again.
  await visitor.open(world.request(world.clients.web));
  await visitor.seesConsent();
}

async function formPost(world) {
  const user = await world.person("olga");
  const visitor = await Visitor.arrive(world);
  const { page } = visitor;
  const request = world.request(world.clients.web, { response_mode: "form_post" });
  await visitor.open(request);
  await visitor.signIn(user);
  await visitor.allow();
  const answer = await visitor.answered(request);
  expect(answer.method, "POST", "method");
  await world.redeem(request, answer);
  const refused = world.request(world.clients.web, { response_mode: "form_post", scope: "openid unknown" });
  await visitor.open(refused);
  expect((await visitor.answered(refused)).parameters.error, "invalid_scope", "error");

  // Where the script led nowhere, the page says what to do, and its button does what the script did.
  world.application.isBusy = true;
  const slow = world.request(world.clients.web, { response_mode: "form_post", prompt: "none" });
  const tried = page.waitForResponse((response) => response.status() === 204);
  await page.goto(slow.url, { waitUntil: "commit" });
  await tried;
  await visitor.seesHeading(/One moment/);
  await world.looks.at("form-post", page);
  world.application.isBusy = false;
  await page.getByRole("button", { name: "Continue" }).click();
  await visitor.tokens(slow);
}

// Nothing here opens the scheme. What counts is that the browser asks for it: the page's policy let it.
async function privateUse(world) {
  const user = await world.person("pavel");
  const visitor = await Visitor.arrive(world);
  const request = world.request(world.clients.native);
  const asked = visitor.page.waitForEvent("request", {
    predicate: (one) => one.url().startsWith("com.example.fieldnotes:/callback?"),
  });
  await visitor.open(request);
  await visitor.signIn(user);
  await visitor.allow();
  const parameters = Object.fromEntries(new URL((await asked).url()).searchParams);
  expect(parameters.state, request.state, "state");
  await world.redeem(request, { parameters });
}

// An app on the device that listens on whatever port was free, by both families of addresses.
async function loopback(world) {
  const user = await world.person("petra");
  for (const application of world.devices) {
    const redirect_uri = `${application.origin}/callback`;
    const visitor = await Visitor.arrive(world);
    const request = world.request(world.clients.device, { redirect_uri });
    await visitor.open(request);
    await visitor.signIn(user);
    await visitor.allow();
    await visitor.tokens(request, { application });
  }
}

async function redirectedOn(world) {
  const user = await world.person("quentin");
  for (const over of [{}, { prompt: "login" }, { response_mode: "form_post", prompt: "consent" }]) {
    const visitor = await Visitor.arrive(world);
    const request = world.request(world.clients.onward, over);
    await visitor.open(request);
    await visitor.type(user);
    if (over.prompt !== "login") await visitor.allow();
    await visitor.answered(request, { application: world.other });
  }
}

// Why the origin that a callback redirects on to is to be registered. Whether the browser stands still is its own affair:
// it is told, not demanded.
async function redirectedAstray(world) {
  const user = await world.person("astrid");
  const faults = [];
  const visitor = await Visitor.arrive({ ...world, faults });
  const request = world.request(world.clients.astray);
  await visitor.open(request);
  await visitor.signIn(user);
  const stands = visitor.page.waitForEvent("console", (message) => /form-action/.test(message.text())).then(() => false);
  await visitor.allow();
  const arrives = world.other.answer(request).then(() => true);
  for (const outcome of [arrives, stands]) outcome.catch(() => {});
  return (await Promise.race([arrives, stands])) ? "this browser goes on" : "this browser stands still";
}

export const clients = {
  deny,
  form_post: formPost,
  "a scheme of its own": privateUse,
  "an app on the device": loopback,
  "a callback that redirects on": redirectedOn,
  "a callback that redirects to who knows where": redirectedAstray,
};
