// What people do to pages beside filling them in: load them again, go back, open two of them.
import { Visitor, expect } from "./visitor.mjs";

async function reload(world) {
  const user = await world.person("grace");
  const visitor = await Visitor.arrive(world);
  const { page } = visitor;
  const request = world.request(world.clients.web);
  await visitor.open(request);
  await visitor.seesSignIn();
  await page.reload();
  await visitor.seesSignIn();
  await visitor.signIn(user);
  await page.reload();
  await visitor.seesConsent();
  await visitor.allow();
  await visitor.tokens(request);
}

async function back(world) {
  const user = await world.person("heidi");
  const visitor = await Visitor.arrive(world);
  const { page } = visitor;
  const request = world.request(world.clients.web);
  await page.goto(`${world.application.origin}/start`);
  await visitor.open(request);
  await visitor.signIn(user);
  // The password was right: going back to it leads to where its owner was.
  await page.goBack();
  await visitor.seesConsent();
  await visitor.allow();
  await visitor.tokens(request);
  // And from the application back to a question that is answered, to the application, with a code that is new.
  await page.goBack();
  await visitor.tokens(request, { count: 2 });

  // Before anything is typed, back is the application's own page.
  const visitor2 = await Visitor.arrive(world);
  await visitor2.page.goto(`${world.application.origin}/start`);
  await visitor2.open(world.request(world.clients.web));
  await visitor2.seesSignIn();
  await visitor2.page.goBack();
  expect(new URL(visitor2.page.url()).pathname, "/start", "back from the sign-in");
  await visitor2.page.goForward();
  await visitor2.seesSignIn();
}

async function twoTabs(world) {
  const user = await world.person("ivan");
  const visitor = await Visitor.arrive(world);
  const [one, two] = [visitor.page, await visitor.tab()];
  const [first, second] = [world.request(world.clients.web), world.request(world.clients.own)];
  await visitor.open(first, one);
  await visitor.open(second, two);
  await visitor.seesSignIn(two);
  await visitor.signIn(user, one);
  // The other tab still shows its form, and it counts.
  await visitor.type(user, { page: two });
  await visitor.tokens(second, { page: two });
  await visitor.allow(one);
  await visitor.tokens(first, { page: one });
}

async function twoTabsAtOnce(world) {
  const user = await world.person("judy");
  const visitor = await Visitor.arrive(world);
  const [one, two] = [visitor.page, await visitor.tab()];
  // A browser that was here before, so that both pages belong to one visit.
  await visitor.open(world.request(world.clients.own));
  await visitor.seesSignIn();
  const [first, second] = [world.request(world.clients.own), world.request(world.clients.own)];
  await Promise.all([visitor.open(first, one), visitor.open(second, two)]);
  await Promise.all([visitor.type(user, { page: one }), visitor.type(user, { page: two })]);
  const [a, b] = await Promise.all([visitor.tokens(first, { page: one }), visitor.tokens(second, { page: two })]);
  expect(a.claims.sub, b.claims.sub, "sub");
  // Whichever secret the browser kept, it is signed in.
  const silent = world.request(world.clients.own, { prompt: "none" });
  await visitor.open(silent);
  await visitor.tokens(silent);
}

// A browser that comes for the first time, with two tabs at one moment, as when it restores its windows.
async function twoFirstTabs(world) {
  const user = await world.person("kim");
  const visitor = await Visitor.arrive(world, { statuses: [400] });
  const [one, two] = [visitor.page, await visitor.tab()];
  const [first, second] = [world.request(world.clients.own), world.request(world.clients.own)];
  await Promise.all([visitor.open(first, one), visitor.open(second, two)]);
  await visitor.type(user, { page: one });
  // One of them was given a visit that the other one's took the place of: it asks again, once.
  const asked = one.locator("#message").waitFor().then(() => visitor.type(user, { page: one }), () => {});
  await visitor.tokens(first, { page: one });
  await one.close();
  await asked;
  await two.reload();
  await visitor.tokens(second, { page: two });
}

async function anotherAccount(world) {
  const [lena, mia] = [await world.person("lena"), await world.person("mia")];
  const visitor = await Visitor.arrive(world, { statuses: [400] });
  const [one, two] = [visitor.page, await visitor.tab()];
  const request = world.request(world.clients.web);
  await visitor.open(request, one);
  await visitor.signIn(lena, one);
  await two.goto(one.url());
  await visitor.seesConsent(two);
  await one.getByRole("link", { name: "Use another account" }).click();
  await visitor.signIn(mia, one);
  await one.locator(".who").filter({ hasText: "mia" }).waitFor();
  // What lena was asked is not mia's to answer.
  await visitor.allow(two);
  await visitor.seesHeading(/out of date/, two);
  await visitor.allow(one);
  const { claims } = await visitor.tokens(request, { page: one });
  expect(claims.preferred_username ?? "mia", "mia", "who is signed in");
}

export const tabs = {
  "loading pages again": reload,
  "the back button": back,
  "two tabs": twoTabs,
  "two tabs at once": twoTabsAtOnce,
  "two tabs of a new browser": twoFirstTabs,
  "another account": anotherAccount,
};
