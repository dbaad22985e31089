// An Express service that takes Latchkey's access tokens. npm ci && npm start
import express from "express";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";

const issuer = process.env.ISSUER ?? "http://127.0.0.1:8420";
const audience = process.env.AUDIENCE ?? "https://api.example.com";
const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));

/** Lets a request pass that has a good access token with this scope; `request.claims` are its claims. */
function access(scope) {
  return async (request, response, next) => {
    const [, token] = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? "") ?? [];
    if (!token) {
      return response.set("WWW-Authenticate", "Bearer").status(401).json({ error: "a bearer token is needed" });
    }
    try {
      const { payload } = await jwtVerify(token, keys, {
        issuer,
        audience,
        algorithms: ["ES256", "RS256"],
        typ: "at+jwt",
        requiredClaims: ["exp", "iat", "sub", "client_id"],
        clockTolerance: 30,
      });
      request.claims = payload;
    } catch (error) {
      // What jose has no name for, and its time-out, is Latchkey not answering: nobody's token is at fault.
      if (!(error instanceof errors.JOSEError) || error instanceof errors.JWKSTimeout) {
        return response.status(503).json({ error: "tokens cannot be verified now" });
      }
      const said = 'Bearer error="invalid_token"';
      return response.set("WWW-Authenticate", said).status(401).json({ error: "invalid token" });
    }
    if (!(request.claims.scope ?? "").split(" ").includes(scope)) {
      const said = `Bearer error="insufficient_scope", scope="${scope}"`;
      return response.set("WWW-Authenticate", said).status(403).json({ error: "insufficient scope" });
    }
    next();
  };
}

const app = express();

app.get("/me", access("read"), (request, response) => {
  response.json({ sub: request.claims.sub, scope: request.claims.scope });
});

app.listen(Number(process.env.PORT ?? 8000), "127.0.0.1");
