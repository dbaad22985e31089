// Starts Debian's Chromium, and notes what goes wrong in its pages: errors in the console, violations of a content
// security policy, and requests to places that a page has no business with.
import { chromium } from "playwright-core";

export async function launch(executablePath) {
  return chromium.launch({
    executablePath,
    // Root has no sandbox here, and a test asks nobody for updates.
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"],
    ],
  });
}

// `origins` are where requests may go. Chromium says in the console that an answer was an error: where that is expected of
// a page, its status is in `statuses`.
export async function watch(page, { origins, faults, statuses = new Set() }) {
  page.on("request", (request) => {
    const url = new URL(request.url());
    const inside = ["data:", "blob:"].includes(url.protocol);
    if (!inside && !origins.includes(url.origin === "null" ? url.protocol : url.origin)) faults.push(`a request left: ${url}`);
  });
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    const status = /^Failed to load resource: the server responded with a status of (\d+) /.exec(message.text());
    if (status && statuses.has(Number(status[1]))) return;
    faults.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => faults.push(`uncaught in the page: ${error.message}`));
  await page.exposeFunction("reportViolation", (text) => faults.push(`CSP violation: ${text}`));
  await page.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", (event) =>
      window.reportViolation(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`),
    ),
  );
}

// Errors are for a log: without the colours that playwright gives them.
export const plain = (error) => error.message.replaceAll(/\x1b\[\d+m/g, "");
