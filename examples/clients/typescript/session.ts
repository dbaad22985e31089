// A client of Latchkey that stays logged in. Copy this file: it needs fetch (Node 20, a browser) and nothing else.
//
//   const session = new Session({ issuer: "https://id.example.com", clientId: "app" }, tokens, save);
//   await session.accessToken();
//
// gives a good access token to any caller, renewed when it is time: by one request, whose answer all share.

const LOG_IN = ["reused_after_window", "idle_expired", "absolute_expired", "revoked", "unknown_session", "user_disabled"];
const WINDOW = 60; // seconds in which Latchkey gives a lost answer again, so in which tries follow each other quickly

/** The session is over; the message is the reason. Nothing but this asks for a new login. */
export class LoginRequired extends Error {}

/** Refused for another reason: a mistake in the setup, or the client is disabled. The session is not lost. */
export class Refused extends Error {}

/** No answer yet, and no good token any more. The tries go on: ask again soon. */
export class Unavailable extends Error {}

/** What is kept of a session. Moments are Unix seconds. */
export interface Tokens {
  access_token: string;
  refresh_token: string;
  renew_at: number;
  expires_at: number;
  session_expires_at: number;
}

export interface Client {
  issuer: string;
  clientId: string;
  clientSecret?: string; // never in a page or an app
  timeout?: number; // seconds, of one request
}

type Save = (tokens: Tokens) => void | Promise<void>;
type Json = Record<string, any>;

export class Session {
  readonly #client: Client;
  readonly #save: Save;
  readonly #now: () => number;
  readonly #patience: number;
  #tokens: Tokens;
  #renewal?: Promise<Tokens>; // under way, or refused
  #notBefore = Infinity; // when a refused one may be tried again

  /** `tokens` are those of the login, or what was saved last. `save` gets new ones before anybody else does. */
  constructor(client: Client, tokens: Tokens, save: Save, patience = 15, now = () => Date.now() / 1000) {
    this.#client = client;
    this.#tokens = tokens;
    this.#save = save;
    this.#patience = patience;
    this.#now = now;
  }

  /** A good access token. `refused` is one that a service answered 401 to: it is renewed before its time. */
  async accessToken(refused?: string): Promise<string> {
    const { access_token, renew_at } = this.#tokens;
    if (this.#now() < renew_at && access_token !== refused) return access_token;
    if (!this.#renewal || this.#now() >= this.#notBefore) {
      this.#notBefore = Infinity;
      this.#renewal = this.#renew();
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((done) => (timer = setTimeout(done, this.#patience * 1000)));
    const renewed = await Promise.race([this.#renewal, late]).finally(() => clearTimeout(timer));
    if (renewed) return renewed.access_token;
    if (this.#now() < this.#tokens.expires_at) return this.#tokens.access_token; // this is why a renewal begins long before
    throw new Unavailable(`${this.#client.issuer} does not answer`);
  }

  async #renew(): Promise<Tokens> {
    const began = this.#now();
    for (let tries = 1; ; tries++) {
      const asked = this.#now();
      const form = { grant_type: "refresh_token", refresh_token: this.#tokens.refresh_token };
      const { status, retryAfter, body } = await post(this.#client, form);
      if (status === 200 && body.access_token) {
        const tokens = kept(body, asked, this.#tokens);
        try {
          await this.#save(tokens); // first: whoever has used new tokens must have them after a crash
          this.#tokens = tokens;
        } finally {
          this.#renewal = undefined;
        }
        return tokens;
      }
      if (status >= 400 && status < 500 && status !== 408 && status !== 429) throw this.#refusal(status, body);
      // No answer, or one that says nothing of the session: the same refresh token again, at once, then soon.
      const pause = tries === 1 ? 0 : Math.min(2 ** (tries - 3), asked - began < WINDOW ? 2 : 30);
      if (/^\d+$/.test(retryAfter)) {
        await sleep(Math.min(Number(retryAfter), WINDOW / 2)); // not for long: an earlier answer may wait to be given again
      } else {
        await sleep(pause * (0.5 + Math.random() / 2));
      }
    }
  }

  #refusal(status: number, { error, error_description, reason }: Json): Error {
    // Without a reason: a public client's token that is none of Latchkey's.
    if (status === 400 && error === "invalid_grant" && (!reason || LOG_IN.includes(reason))) {
      return new LoginRequired(reason ?? "unknown_session");
    }
    this.#notBefore = this.#now() + WINDOW / 2; // asking in a loop mends nothing
    return new Refused(`${error ?? `status ${status}`}: ${reason ?? error_description}`);
  }
}

/** What to keep of an answer that was asked for at `asked`. */
export function kept(answer: Json, asked: number, before?: Tokens): Tokens {
  return {
    access_token: answer.access_token,
    refresh_token: answer.refresh_token ?? before?.refresh_token,
    renew_at: asked + answer.refresh_in,
    expires_at: asked + answer.expires_in,
    session_expires_at: answer.session_expires_at,
  };
}

/** What the token endpoint says; status 0 where no answer came. */
export async function post(client: Client, form: Record<string, string>) {
  const { issuer, clientId, clientSecret, timeout = 5 } = client;
  const body = new URLSearchParams(clientSecret ? form : { ...form, client_id: clientId });
  const headers = new Headers();
  if (clientSecret) {
    headers.set("Authorization", `Basic ${btoa([clientId, clientSecret].map(encodeURIComponent).join(":"))}`);
  }
  try {
    const signal = AbortSignal.timeout(timeout * 1000);
    const answer = await fetch(`${issuer}/oauth2/token`, { method: "POST", headers, body, signal });
    const text = await answer.text();
    const said: Json = text.startsWith("{") ? JSON.parse(text) : {};
    return { status: answer.status, retryAfter: answer.headers.get("Retry-After") ?? "", body: said };
  } catch {
    return { status: 0, retryAfter: "", body: {} as Json };
  }
}

function sleep(seconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, seconds * 1000));
}
