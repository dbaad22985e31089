// How a page looks, and whether everybody can use it: pictures at the widths of a phone and of a desk, light and dark, and
// axe-core in both schemes.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fail } from "./service.mjs";
import { DESKTOP, PHONE } from "./visitor.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WIDTHS = { phone: PHONE, desktop: DESKTOP };
// WCAG 2.2, 1.4.10: what a page of 1280 pixels is at 400 %.
const NARROWEST = { width: 320, height: 640 };

export class Looks {
  constructor(folder) {
    this.folder = folder;
    this.seen = 0;
    mkdirSync(folder, { recursive: true });
  }

  // Leaves the page as it was.
  async at(name, page) {
    const focused = await page.evaluateHandle(() => document.activeElement);
    const before = page.viewportSize();
    await this.pictures(name, page, (colorScheme) => this.judge(`${name}, ${colorScheme}`, page));
    await page.setViewportSize(NARROWEST);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (overflow > 0) fail(`${name} is ${overflow} pixels too wide for ${NARROWEST.width}`);
    await page.setViewportSize(before);
    await focused.evaluate((element) => element.focus());
  }

  // The pictures alone, as of a page where no script runs, which axe-core would be one of.
  async pictures(name, page, andThen = async () => {}) {
    this.seen += 1;
    const before = page.viewportSize();
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      for (const [width, size] of Object.entries(WIDTHS)) {
        await page.setViewportSize(size);
        await page.screenshot({ path: join(this.folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      }
      await andThen(colorScheme);
    }
    await page.setViewportSize(before);
    await page.emulateMedia({ colorScheme: null, reducedMotion: null });
  }

  async judge(what, page) {
    // By the debugger, so that the page's policy is not asked; without preload, axe-core fetches nothing.
    await page.evaluate(AXE);
    const { violations, passes } = await page.evaluate(() => window.axe.run(document, { preload: false }));
    if (passes.length < 10) fail(`${what}: axe-core looked at ${passes.length} things only`);
    for (const { id, impact, help, nodes } of violations) {
      const where = nodes.map((node) => node.target.join(" ")).join(", ");
      const told = `${what}: ${impact}: ${id}: ${help} (${where})`;
      if (["serious", "critical"].includes(impact)) fail(told);
      console.log(`    note: ${told}`);
    }
  }
}
