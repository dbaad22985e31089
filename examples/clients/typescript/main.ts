// Prints a good access token: curl -H "Authorization: Bearer $(node dist/main.js)" https://api.example.com/me
//
// Logs in as LOGIN with PASSWORD when there is no session in FILE, or when it is over.
import { load, saveTo } from "./file.js";
import { LoginRequired, Session, kept, post, type Client, type Tokens } from "./session.js";

const { ISSUER = "http://127.0.0.1:8420", CLIENT_ID = "app", CLIENT_SECRET, FILE = "session.json" } = process.env;
const client: Client = { issuer: ISSUER, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };
const save = saveTo(FILE);

async function login(): Promise<Tokens> {
  const form = { grant_type: "password", username: process.env.LOGIN ?? "", password: process.env.PASSWORD ?? "" };
  const asked = Date.now() / 1000;
  const { status, body } = await post(client, form);
  if (status !== 200) throw new Error(`no login: ${body.error_description ?? status}`);
  const tokens = kept(body, asked);
  await save(tokens);
  return tokens;
}

let token: string;
try {
  token = await new Session(client, await load(FILE), save).accessToken();
} catch (error) {
  if (!(error instanceof LoginRequired) && (error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  console.error(`logging in: ${(error as Error).message}`);
  token = await new Session(client, await login(), save).accessToken();
}
console.log(token);
