// Shows one of the documents that this server has, and lets its operations be tried on this very server.
"use strict";
(async () => {
  const root = new URL(".", document.baseURI).href.replace(/\/$/, "");
  const documents = JSON.parse(document.getElementById("documents").textContent);
  const wanted = new URLSearchParams(location.search).get("urls.primaryName");
  const chosen = documents.find((known) => known.name === wanted) ?? documents[0];
  const nav = document.getElementById("choice");
  for (const known of documents) {
    const link = document.createElement("a");
    link.href = "?" + new URLSearchParams({ "urls.primaryName": known.name });
    link.textContent = known.name;
    if (known === chosen) link.setAttribute("aria-current", "page");
    nav.append(link);
  }
  const answer = await fetch(root + "/" + chosen.url);
  const spec = await answer.json();
  // The issuer's name may not be the one this page was opened by (localhost, a forwarded port).
  spec.servers = [{ url: root }];
  for (const scheme of Object.values(spec.components?.securitySchemes ?? {})) {
    for (const flow of Object.values(scheme.flows ?? {})) {
      flow.tokenUrl = flow.refreshUrl = root + "/oauth2/token";
    }
  }
  window.ui = SwaggerUIBundle({
    dom_id: "#ui",
    spec,
    deepLinking: true,
    displayRequestDuration: true,
    persistAuthorization: false,
    tryItOutEnabled: true,
    validatorUrl: null,
  });
})();
