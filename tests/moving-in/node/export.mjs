// The users of server.mjs as the JSON lines that `latchkey user import` reads. USERS=users.json node export.mjs > users.jsonl
import { readFileSync } from "node:fs";

for (const { id, email, role, hash } of JSON.parse(readFileSync(process.env.USERS, "utf8"))) {
  console.log(JSON.stringify({ username: email, email, external_id: String(id), password_hash: hash, attributes: { role } }));
}
