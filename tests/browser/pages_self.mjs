// What keeps the other scenarios honest: pages that are broken on their way to the browser are noticed.
import { fail } from "./service.mjs";
import { Visitor } from "./visitor.mjs";

// Opens the sign-in page as `spoil` leaves it, at the address of the request: only the first of a chain of redirects can be
// answered here. Returns what was noticed.
async function noticed(world, spoil, look = async () => {}) {
  const faults = [];
  const visitor = await Visitor.arrive({ ...world, faults });
  await visitor.page.route(/\/oauth2\/authorize/, async (route) => {
    const response = await route.fetch();
    const page = { headers: response.headers(), body: await response.text() };
    await route.fulfill({ status: response.status(), ...spoil(page) });
  });
  await visitor.open(world.request(world.clients.web));
  await visitor.seesSignIn();
  await look(visitor).catch((error) => faults.push(error.message));
  return faults;
}

async function brokenPages(world) {
  const policy = (find, put) => (page) => {
    const name = "content-security-policy";
    if (!find.test(page.headers[name])) fail(`the policy has no ${find}: ${page.headers[name]}`);
    return { ...page, headers: { ...page.headers, [name]: page.headers[name].replace(find, put) } };
  };
  const markup = (find, put) => (page) => ({ ...page, body: page.body.replace(find, put) });
  const judge = async ({ page }) => world.looks.judge("a broken page", page);
  const sendForm = ({ page }) => Promise.all([page.waitForEvent("console"), page.evaluate(() => document.forms[0].submit())]);
  const table = [
    ["a stylesheet that the policy forbids", /CSP violation: style-src/, policy(/style-src 'self'/, "style-src 'none'")],
    ["a form that leads nowhere", /form-action/, policy(/form-action [^;]*/, "form-action 'none'"), sendForm],
    ["a script", /CSP violation: script-src/, markup("</main>", "</main><script>1</script>")],
    ["a field without a label", /critical: label/, markup('for="username"', ""), judge],
    ["a picture from elsewhere", /a request left|CSP/, markup("</main>", '<img alt="" src="http://elsewhere.example/">')],
  ];
  for (const [what, expected, spoil, look] of table) {
    const faults = await noticed(world, spoil, look);
    if (!faults.some((fault) => expected.test(fault))) fail(`nobody notices ${what}: ${JSON.stringify(faults)}`);
  }
}

export const self = { "broken pages are noticed": brokenPages };
