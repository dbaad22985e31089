// A Node service as it was before Latchkey: users in a file, jwt.sign() with a shared HS256 secret, and a token that is
// signed anew while it is valid. With LATCHKEY set to an issuer it takes Latchkey's access tokens too, and its own only
// until CUT_OFF (Unix seconds).
import { readFileSync, writeFileSync } from "node:fs";
import bcrypt from "bcryptjs";
import express from "express";
import { createRemoteJWKSet, jwtVerify } from "jose";
import jwt from "jsonwebtoken";

const { SECRET, USERS, LATCHKEY, PORT } = process.env;
const cutOff = Number(process.env.CUT_OFF ?? Infinity);
const keys = LATCHKEY && createRemoteJWKSet(new URL(`${LATCHKEY}/.well-known/jwks.json`));

const users = () => JSON.parse(readFileSync(USERS, "utf8"));
const sign = ({ id, email, role }) => jwt.sign({ id, email, role }, SECRET, { algorithm: "HS256", expiresIn: "1h" });

function own(token) {
  const claims = jwt.verify(token, SECRET, { algorithms: ["HS256"] });
  if (Date.now() / 1000 >= cutOff) throw new Error("after the cut-off");
  return claims;
}

async function latchkeys(token) {
  const { payload } = await jwtVerify(token, keys, {
    issuer: LATCHKEY,
    audience: "https://node.example.com",
    algorithms: ["ES256"],
    typ: "at+jwt",
    clockTolerance: 30,
  });
  return payload;
}

const bearer = (request) => (request.headers.authorization ?? "").replace(/^Bearer /i, "");

async function access(request, response, next) {
  try {
    const token = bearer(request);
    const ours = jwt.decode(token, { complete: true })?.header.typ !== "at+jwt";
    request.claims = ours || !keys ? own(token) : await latchkeys(token);
  } catch (error) {
    return response.status(401).json({ error: error.message });
  }
  next();
}

const app = express();
app.use(express.json());

app.post("/signup", async (request, response) => {
  const { email, password, role } = request.body;
  const all = users();
  all.push({ id: all.length + 1, email, role, hash: await bcrypt.hash(password, 10) });
  writeFileSync(USERS, JSON.stringify(all));
  response.status(201).json({ id: all.length });
});

app.post("/login", async (request, response) => {
  const user = users().find(({ email }) => email === request.body.email);
  if (!user || !(await bcrypt.compare(request.body.password, user.hash))) {
    return response.status(401).json({ error: "wrong email or password" });
  }
  response.json({ token: sign(user) });
});

app.post("/renew", (request, response) => {
  try {
    response.json({ token: sign(own(bearer(request))) });
  } catch (error) {
    response.status(401).json({ error: error.message });
  }
});

app.get("/api/me", access, (request, response) => {
  const { id, email, role } = request.claims;
  response.json({ id, username: email, role });
});

app.listen(Number(PORT), "127.0.0.1");
