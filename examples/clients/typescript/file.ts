// Tokens in a file, for a program that runs on Node.
import { open, readFile, rename } from "node:fs/promises";

import type { Tokens } from "./session.js";

export async function load(path: string): Promise<Tokens> {
  return JSON.parse(await readFile(path, "utf8"));
}

/** Replaces the file whole: a crash leaves the old tokens or the new ones. */
export function saveTo(path: string): (tokens: Tokens) => Promise<void> {
  return async (tokens) => {
    const temporary = `${path}.${process.pid}`;
    const file = await open(temporary, "w", 0o600); // for its owner alone
    await file.writeFile(JSON.stringify(tokens));
    await file.sync();
    await file.close();
    await rename(temporary, path);
  };
}
