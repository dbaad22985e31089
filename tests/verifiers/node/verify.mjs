// Verifies access tokens with jose and its createRemoteJWKSet, as a Node service would.
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { createRemoteJWKSet, customFetch, jwtVerify } from "jose";

const { values: args } = parseArgs({
  options: {
    jwks: { type: "string" },
    issuer: { type: "string" },
    audience: { type: "string" },
    mode: { type: "string", default: "default" },
    scale: { type: "string", default: "1" },
  },
});

let fetches = 0;
const options = {
  [customFetch]: (...request) => {
    fetches += 1;
    return fetch(...request);
  },
};
if (args.mode === "fast") {
  // What createRemoteJWKSet keeps time by, each divided by the scale: how long a fetched set is used, and
  // how long an unknown `kid` waits after any fetch. (The network timeout is about a slow network: left alone.)
  options.cacheMaxAge = 600_000 / Number(args.scale);
  options.cooldownDuration = 30_000 / Number(args.scale);
}
const keys = createRemoteJWKSet(new URL(args.jwks), options);

let verified = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { n, token } = JSON.parse(line);
  let answer = { n, ok: true };
  try {
    await jwtVerify(token, keys, {
      algorithms: ["RS256", "ES256"],
      issuer: args.issuer,
      audience: args.audience,
      requiredClaims: ["exp"],
    });
    verified += 1;
  } catch (error) {
    answer = { n, ok: false, error: `${error.code ?? error.name}: ${error.message}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.stdout.write(`${JSON.stringify({ done: true, verified, fetches })}\n`);
