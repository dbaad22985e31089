// Other ways through the same pages: without a mouse, without script, in another language, in a window that was opened for it.
import { fail } from "./service.mjs";
import { Visitor, expect } from "./visitor.mjs";

// Presses Tab until the element with this id has the focus, and checks that this can be seen.
async function tabTo(visitor, id) {
  for (let presses = 0; (await visitor.focused()) !== id; presses += 1) {
    if (presses > 10) fail(`ten times Tab does not lead to ${id}`);
    await visitor.page.keyboard.press("Tab");
  }
  const outline = await visitor.page.evaluate(() => {
    const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
    return outlineStyle === "none" ? 0 : parseFloat(outlineWidth);
  });
  if (outline < 2) fail(`nobody sees that ${id} has the focus`);
}

async function keyboard(world) {
  const user = await world.person("rosa");
  const visitor = await Visitor.arrive(world, { statuses: [400] });
  const { page } = visitor;
  const request = world.request(world.clients.web);
  await visitor.open(request);
  await visitor.seesSignIn();
  await page.keyboard.type(user.username);
  await page.keyboard.press("Tab");
  await page.keyboard.type("wrong");
  await page.keyboard.press("Enter");
  await visitor.seesMessage(/don’t match/);
  await page.keyboard.type(user.password);
  await tabTo(visitor, "sign-in");
  await page.keyboard.press("Enter");
  await visitor.seesConsent();
  await tabTo(visitor, "allow");
  await tabTo(visitor, "deny");
  await page.keyboard.press("Shift+Tab");
  await visitor.expectFocus("allow");
  await page.keyboard.press("Space");
  await visitor.tokens(request);
}

async function noScript(world) {
  const user = await world.person("sven");
  const visitor = await Visitor.arrive(world, { javaScriptEnabled: false, statuses: [400] });
  const request = world.request(world.clients.web, { response_mode: "form_post" });
  await visitor.open(request);
  await visitor.type(user, { password: "wrong" });
  await visitor.seesMessage(/don’t match/);
  await visitor.signIn(user);
  await visitor.allow();
  await visitor.seesHeading(/One moment/);
  await visitor.page.getByRole("button", { name: "Continue" }).click();
  await visitor.tokens(request);
  const second = world.request(world.clients.web, { prompt: "consent" });
  await visitor.open(second);
  await visitor.allow();
  await visitor.tokens(second);
}

async function chinese(world) {
  const user = await world.person("wang");
  const visitor = await Visitor.arrive(world, { locale: "zh-CN", statuses: [400] });
  const { page } = visitor;
  const request = world.request(world.clients.web);
  await visitor.open(request);
  await visitor.seesHeading(/^登录$/);
  expect(await page.locator("html").getAttribute("lang"), "zh-Hans", "lang");
  await world.looks.at("zh-sign-in", page);
  await visitor.type(user, { password: "wrong" });
  await visitor.seesMessage(/用户名或密码不正确/);
  await visitor.signIn(user);
  await visitor.seesHeading(/想使用您的账号/);
  await world.looks.at("zh-consent", page);
  await visitor.allow();
  await visitor.tokens(request);
  await page.goto(`${world.issuer}/login?ticket=forged`);
  await visitor.seesHeading(/无法完成此请求/);
  await world.looks.at("zh-error-malformed", page);
  // What the application asks for comes first.
  await visitor.open(world.request(world.clients.web, { ui_locales: "en", prompt: "login" }));
  await visitor.seesHeading(/^Sign in$/);
}

// An application that waits for the window that it has opened must still know it when it comes back.
async function popup(world) {
  const user = await world.person("tara");
  const visitor = await Visitor.arrive(world);
  await visitor.page.goto(`${world.application.origin}/start`);
  const opened = visitor.context.waitForEvent("page");
  await visitor.page.getByRole("button").click();
  const window = await opened;
  await window.waitForLoadState();
  const request = world.request(world.clients.web);
  await visitor.open(request, window);
  await visitor.signIn(user, window);
  await visitor.allow(window);
  await visitor.tokens(request, { page: window });
  if (await window.evaluate(() => window.opener === null)) fail("the window has lost the one that opened it");
}

export const ways = { "keyboard alone": keyboard, "without script": noScript, Chinese: chinese, "in a window of its own": popup };
