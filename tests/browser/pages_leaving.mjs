// Signing out, at the wish of an application or of the user, and the page of the user's own account.
import { fail } from "./service.mjs";
import { PHONE, Visitor, expect } from "./visitor.mjs";

const PHONE_BROWSER = {
  viewport: PHONE,
  userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1",
};

// A logout that the application asks for, and the state that it is to get back.
function logoutOf(world, parameters) {
  const state = `left-${Math.random()}`;
  return { state, url: `${world.discovery.end_session_endpoint}?${new URLSearchParams({ ...parameters, state })}` };
}

async function expectSignedOut(world, visitor, client = world.clients.web) {
  const request = world.request(client, { prompt: "none" });
  await visitor.open(request);
  expect((await visitor.answered(request)).parameters.error, "login_required", "after the sign-out");
}

async function signOut(world) {
  const user = await world.person("ursula");
  const visitor = await Visitor.arrive(world, { statuses: [400] });
  const { page } = visitor;
  const back = { post_logout_redirect_uri: `${world.application.origin}/signed-out` };
  const { client_id } = world.clients.web;

  // With its ID token the application is believed.
  const { idToken } = await visitor.signedIn(user);
  const believed = logoutOf(world, { ...back, id_token_hint: idToken });
  await visitor.open(believed);
  expect((await visitor.answered(believed)).path, "/signed-out", "where the application is");
  if ((await visitor.cookies()).latchkey) fail("the cookie is still there");
  await expectSignedOut(world, visitor);

  // Without it the user is asked, and may stay.
  await visitor.open(world.request(world.clients.web));
  await visitor.type(user);
  await page.waitForURL((url) => url.origin === world.application.origin);
  const asked = logoutOf(world, { ...back, client_id });
  await visitor.open(asked);
  await page.locator("#confirm").waitFor();
  await world.looks.at("confirm-logout", page);
  await page.reload();
  await page.locator("#stay").click();
  await visitor.seesHeading(/Your account/);
  await page.goBack();
  await page.locator("#confirm").click();
  await visitor.answered(asked);
  await expectSignedOut(world, visitor);

  // Nobody to go back to: the page says that it is done.
  await visitor.open(world.request(world.clients.web));
  await visitor.type(user);
  await page.waitForURL((url) => url.origin === world.application.origin);
  await page.goto(world.discovery.end_session_endpoint);
  await page.locator("#confirm").click();
  await visitor.seesHeading(/signed out/);
  await world.looks.at("signed-out", page);
  await page.getByRole("link", { name: "Sign in again" }).click();
  await visitor.seesSignIn();
  const evil = logoutOf(world, { client_id, post_logout_redirect_uri: `${world.application.origin}/evil` });
  await visitor.open(evil);
  await visitor.seesHeading(/don’t know where this came from/);
}

async function account(world) {
  const address = `${world.issuer}/account`;
  const user = await world.person("viktor");
  const phone = await Visitor.arrive(world, PHONE_BROWSER);
  await phone.signedIn(user);
  await world.advance("2h");
  const visitor = await Visitor.arrive(world, { statuses: [400] });
  const { page } = visitor;
  await page.goto(address);
  await visitor.seesSignIn();
  await world.looks.at("account-sign-in", page);
  await visitor.type(user);
  await visitor.seesHeading(/Your account/);
  await world.looks.at("account", page);

  const press = async (name) => page.getByRole("button", { name, exact: true }).click();
  const change = async (current, next) => {
    await page.locator("#current-password").fill(current);
    await page.locator("#new-password").fill(next);
    await press("Change password");
  };
  await page.locator("li", { hasText: "iPhone" }).getByRole("button").click();
  await visitor.seesMessage(/device is signed out/);
  await expectSignedOut(world, phone);
  await page.locator("li", { hasText: "Fieldnotes" }).getByRole("button").click();
  await visitor.seesMessage(/no longer has access/);
  await world.looks.at("account-empty", page);
  await change("wrong", "another password, quite long");
  await visitor.seesMessage(/isn’t right/);
  await world.looks.at("account-password-wrong", page);
  await change(user.password, "another password, quite long");
  await visitor.seesMessage(/password is changed/);
  await press("Sign out here");
  await visitor.seesHeading(/signed out/);
  // The page before was the answer to a form, which the browser does not keep: it shows a page of its own, or asks anew.
  await page.goBack().catch(() => {});
  if (await page.getByText("viktor").isVisible()) fail("the account can still be seen");
  const tab = await visitor.tab();
  await tab.goto(address);
  await visitor.type(user, { page: tab, password: "another password, quite long" });
  await visitor.seesHeading(/Your account/, tab);
  await tab.getByRole("button", { name: "Sign out everywhere" }).click();
  await visitor.seesHeading(/signed out/, tab);
}

async function accountInChineseWithoutScript(world) {
  const user = await world.person("xu");
  const visitor = await Visitor.arrive(world, { locale: "zh-CN", javaScriptEnabled: false });
  await visitor.page.goto(`${world.issuer}/account`);
  await visitor.type(user);
  await visitor.seesHeading(/我的账号/);
  await world.looks.pictures("zh-account", visitor.page);
  await visitor.page.getByRole("button", { name: "退出当前设备" }).click();
  await visitor.seesHeading(/您已退出登录/);
}

export const leaving = {
  "signing out": signOut,
  account,
  "account in Chinese, without script": accountInChineseWithoutScript,
};
