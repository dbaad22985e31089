// The applications that people sign in to: one small server on an origin of its own, which keeps what it is answered.
// Latchkey is at 127.0.0.1 and this is at localhost, so that to a browser they are different sites.
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { basic, fail, secret } from "./service.mjs";

const PATIENCE = 15_000;
const ICON = '<link rel="icon" href="data:,">';
const page = (title, body) => `<!doctype html><html lang="en"><title>${title}</title>${ICON}<h1>${title}</h1>${body}`;

// What a browser brought, once its request has come in whole.
async function read(request) {
  let body = "";
  for await (const chunk of request) body += chunk;
  const url = new URL(request.url, "http://localhost");
  const parameters = Object.fromEntries(request.method === "POST" ? new URLSearchParams(body) : url.searchParams);
  return { method: request.method, path: url.pathname, parameters };
}

export class Application {
  // Keeps, by `state`, whatever comes to it. While it `isBusy`, browsers stay where they are. Callbacks at `/onward` are sent on to `onward`, as gateways do.
  static async start({ host, onward = null }) {
    const application = new Application();
    application.answers = new Map();
    application.server = createServer(async (request, response) => {
      const came = await read(request);
      if (application.isBusy) return response.writeHead(204).end();
      const { state } = came.parameters;
      if (came.path === "/onward") {
        const location = `${onward}/arrived?${new URLSearchParams(came.parameters)}`;
        return response.writeHead(302, { Location: location }).end();
      }
      if (state) application.answers.set(state, [...(application.answers.get(state) ?? []), came]);
      const opener = `<button onclick="window.open('/wait', 'popup', 'popup')">Sign in</button>`;
      response.writeHead(200, { "Content-Type": "text/html" }).end(page("Fieldnotes", came.path === "/start" ? opener : ""));
    });
    await new Promise((done) => application.server.listen(0, host, done));
    application.origin = `http://${host.includes(":") ? `[${host}]` : host}:${application.server.address().port}`;
    return application;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  // What it was answered to the request, the `count`th time.
  async answer({ state }, count = 1) {
    for (const until = Date.now() + PATIENCE; ; await new Promise((go) => setTimeout(go, 20))) {
      const answers = this.answers.get(state) ?? [];
      if (answers.length >= count) return answers[count - 1];
      if (Date.now() > until) fail(`the application was answered ${answers.length} times, not ${count}`);
    }
  }
}

// The registrations, as the admin API takes them.
export function registrations(application, other) {
  const web = (client_id, over) => ({
    client_id,
    client_secret: secret(),
    client_name: "Fieldnotes",
    grant_types: ["authorization_code", "refresh_token"],
    scope: "openid profile email offline_access notes:write",
    token_endpoint_auth_method: "client_secret_basic",
    redirect_uris: [`${application.origin}/callback`],
    post_logout_redirect_uris: [`${application.origin}/signed-out`],
    ...over,
  });
  return {
    web: web("fieldnotes", {
      client_uri: "https://fieldnotes.example/",
      policy_uri: "https://fieldnotes.example/privacy",
      tos_uri: "https://fieldnotes.example/terms",
    }),
    // A program on the device, which asks at each start for a port.
    device: web("device", {
      client_secret: undefined,
      token_endpoint_auth_method: "none",
      redirect_uris: ["http://127.0.0.1/callback", "http://[::1]/callback"],
      post_logout_redirect_uris: [],
    }),
    // Its users are not asked.
    own: web("own", { client_name: "Timesheet", skip_consent: true }),
    // Its callback sends the browser on, to an origin that is registered beside it.
    onward: web("onward", { redirect_uris: [`${application.origin}/onward`, `${other.origin}/arrived`] }),
    // Nobody knows where it sends the browser on to.
    astray: web("astray", { redirect_uris: [`${application.origin}/onward`] }),
    native: web("native", {
      client_name: "Fieldnotes for phones",
      client_secret: undefined,
      token_endpoint_auth_method: "none",
      redirect_uris: ["com.example.fieldnotes:/callback"],
      post_logout_redirect_uris: [],
    }),
  };
}

// A new authorization request of the client; an empty value takes a parameter away.
export function requestOf(issuer, client, over = {}) {
  const draw = () => randomBytes(32).toString("base64url");
  const request = { client, verifier: draw(), state: draw(), nonce: draw() };
  const parameters = {
    client_id: client.client_id,
    redirect_uri: client.redirect_uris[0],
    response_type: "code",
    scope: "openid profile email",
    state: request.state,
    nonce: request.nonce,
    code_challenge: createHash("sha256").update(request.verifier).digest("base64url"),
    code_challenge_method: "S256",
    ...over,
  };
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== ""));
  return { ...request, redirectUri: parameters.redirect_uri, url: `${issuer}/oauth2/authorize?${query}` };
}

// Redeems the code of an answer. Returns the claims of the ID token and the ID token itself.
export async function redeem(origin, issuer, request, { parameters }) {
  const { client } = request;
  if (parameters.iss !== issuer) fail(`the answer is of ${parameters.iss}, not of ${issuer} (RFC 9207)`);
  if (!parameters.code) fail(`no code: ${JSON.stringify(parameters)}`);
  const answer = await fetch(`${origin}/oauth2/token`, {
    method: "POST",
    headers: client.client_secret ? { Authorization: basic({ id: client.client_id, secret: client.client_secret }) } : {},
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code: parameters.code,
      redirect_uri: request.redirectUri,
      code_verifier: request.verifier,
      ...(client.client_secret ? {} : { client_id: client.client_id }),
    }),
  });
  const tokens = await answer.json();
  if (answer.status !== 200) fail(`the code of ${client.client_id}: ${answer.status} ${JSON.stringify(tokens)}`);
  const claims = JSON.parse(Buffer.from(tokens.id_token.split(".")[1], "base64url"));
  if (claims.nonce !== request.nonce) fail("the ID token is of another request");
  return { idToken: tokens.id_token, claims };
}
