// Over https, by Latchkey's own listener: both cookies have the prefix `__Host-`, and the pages come by HTTP/2.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { get } from "node:https";
import { join } from "node:path";
import { requestOf } from "./application.mjs";
import { freePort, startService } from "./service.mjs";
import { Visitor, expect } from "./visitor.mjs";

// A certificate that nobody but this scenario trusts.
function certificate(folder) {
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"];
  const made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate];
  execFileSync("openssl", ["req", "-x509", ...made, ...subject], { stdio: "ignore" });
  return { key, certificate };
}

const status = (url, ca) =>
  new Promise((done, failed) => {
    get(url, { ca }, (answer) => done(answer.resume().statusCode)).on("error", failed);
  });

async function overTls(world) {
  const folder = mkdtempSync(join(world.folder, "tls-"));
  const pem = certificate(folder);
  const listen = `127.0.0.1:${await freePort()}`;
  const issuer = `https://${listen}`;
  const user = { username: "yusuf", password: "correct horse battery staple" };
  const { web } = world.clients;
  const service = await startService({
    ...{ binary: world.args.binary, folder, listen },
    bootstrap: { clients: [web], users: [user] },
    settings: {
      LATCHKEY__SERVER__ISSUER: issuer,
      LATCHKEY__SERVER__TLS__CERTIFICATE: pem.certificate,
      LATCHKEY__SERVER__TLS__PRIVATE_KEY: pem.key,
    },
    statusOf: (path) => status(`${issuer}${path}`, readFileSync(pem.certificate)),
  });
  try {
    const here = { ...world, issuer, origins: [issuer, world.application.origin] };
    const visitor = await Visitor.arrive(here, { ignoreHTTPSErrors: true });
    const request = requestOf(issuer, web);
    await visitor.open(request);
    await visitor.seesSignIn();
    const protocol = await visitor.page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
    expect(protocol, "h2", "protocol");
    await visitor.signIn(user);
    await visitor.allow();
    expect((await visitor.answered(request)).parameters.iss, issuer, "iss");
    const cookies = await visitor.cookies();
    expect(Object.keys(cookies).sort(), ["__Host-latchkey", "__Host-latchkey-visit"], "cookies");
    for (const { name, httpOnly, sameSite, secure, path } of Object.values(cookies)) {
      expect({ httpOnly, sameSite, secure, path }, { httpOnly: true, sameSite: "Lax", secure: true, path: "/" }, name);
    }
  } finally {
    await service.stop();
  }
}

export const tls = { "over https": overTls };
