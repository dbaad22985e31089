// A Node application whose users sign in at Latchkey, with openid-client. It proves itself with a key of its own and gets
// the code by form_post. It has one visitor, whose tokens it keeps.
import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import * as client from "openid-client";

const { ISSUER, CLIENT_ID, CLIENT_KEY, SCOPE, PORT } = process.env;
const here = `http://127.0.0.1:${PORT}`;

const pem = createPrivateKey(readFileSync(CLIENT_KEY, "utf8"));
const jwk = pem.export({ format: "jwk" });
const key = await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
const config = await client.discovery(new URL(ISSUER), CLIENT_ID, undefined, client.PrivateKeyJwt(key), {
  // http, since all of it is on loopback; and signatures are verified, which TLS to the token endpoint would make needless.
  execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks],
});

let started;
let tokens;
let leaving;

async function login() {
  started = {
    pkceCodeVerifier: client.randomPKCECodeVerifier(),
    expectedState: client.randomState(),
    expectedNonce: client.randomNonce(),
  };
  return client.buildAuthorizationUrl(config, {
    redirect_uri: `${here}/callback`,
    scope: SCOPE,
    response_mode: "form_post",
    code_challenge: await client.calculatePKCECodeChallenge(started.pkceCodeVerifier),
    code_challenge_method: "S256",
    state: started.expectedState,
    nonce: started.expectedNonce,
  });
}

async function callback(request) {
  tokens = await client.authorizationCodeGrant(config, request, started);
  return { claims: tokens.claims() };
}

async function userinfo() {
  return { claims: await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub) };
}

async function refresh() {
  tokens = await client.refreshTokenGrant(config, tokens.refresh_token);
  return { claims: tokens.claims() };
}

function logout() {
  leaving = client.randomState();
  return client.buildEndSessionUrl(config, {
    post_logout_redirect_uri: `${here}/bye`,
    id_token_hint: tokens.id_token,
    state: leaving,
  });
}

function bye(request) {
  if (new URL(request.url).searchParams.get("state") !== leaving) throw new Error("another state");
  tokens = undefined;
  return { bye: true };
}

const paths = { "/login": login, "/callback": callback, "/userinfo": userinfo, "/refresh": refresh, "/logout": logout, "/bye": bye };

async function answer(asked) {
  const url = new URL(asked.url, here);
  if (!Object.hasOwn(paths, url.pathname)) return [404, {}];
  const { method, headers } = asked;
  const body = method === "POST" ? Buffer.concat(await asked.toArray()) : undefined;
  try {
    return [200, await paths[url.pathname](new Request(url, { method, headers, body }))];
  } catch (error) {
    const told = [error.message, error.error, error.cause?.message, error.cause?.claim && `claim ${error.cause.claim}`];
    return [401, { refused: told.filter(Boolean).join(": ") }];
  }
}

createServer(async (asked, reply) => {
  const [status, said] = await answer(asked);
  if (said instanceof URL) reply.writeHead(302, { location: said.href }).end();
  else reply.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(said));
}).listen(Number(PORT), "127.0.0.1");
