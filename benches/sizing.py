#!/usr/bin/env python3
"""What Latchkey's tables take on disk, and what its requests write: the figures of docs/sizing.md.

Rows are copies of what logins through the service have left, with ids of their own, written in the order of time into
tables that have their indexes, as years of logins would have. The requests go through the running service. A debug
build does as well as any: nothing here depends on its speed.

    benches/sizing.py --binary target/release/latchkey --postgres postgres://superuser@127.0.0.1:5432/postgres
    benches/sizing.py --binary target/release/latchkey

The second is for SQLite. PostgreSQL gets a database of its own, which is dropped, and must do nothing else meanwhile:
its log counts for all databases. It needs `psql`, and 2 GB of disk for a million rows.
"""

import argparse
import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

SECRET = "a-secret-of-at-least-32-characters-for-tests"
PASSWORD = "down-the-rabbit-hole"
CONNECTIONS = 16
# Logins are not what is measured: as cheap as they may be.
CHEAP = {"passwords.memory": "8MiB", "passwords.iterations": "1", "passwords.queue": "1000"}
# Users arrive through a proxy, so that their addresses are remembered.
PROXIED = {"server.trusted_proxies": "127.0.0.1"}
# More sessions than a page has.
APART = 16
TIMES = ["auth_time", "started_at", "last_used_at", "idle_expires_at", "absolute_expires_at"]
TABLES = ["sessions", "audit", "users", "known_addresses", "revocations"]

class Postgres:
    # A random id, as sessions have them, for the row `n`; and the numbers of rows.
    an_id = "rtrim(translate(encode(decode(md5(random()::text || n), 'hex'), 'base64'), '+/', '-_'), '=')"
    numbers = "generate_series(1, {rows}) AS n"

    def __init__(self, url):
        self.name, self.server = f"latchkey_sizing_{os.getpid()}", url
        self.url = urllib.parse.urlsplit(url)._replace(path=f"/{self.name}").geturl()
        self.ask(f"CREATE DATABASE {self.name}", self.server)

    def ask(self, text, url=None):
        plain = ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(["psql", *plain, "-d", url or self.url, "-c", text], text=True, capture_output=True)
        assert done.returncode == 0, f"{text}: {done.stderr}"
        return [line.split("\t") for line in done.stdout.splitlines()]

    def settle(self):
        self.ask("VACUUM ANALYZE")
        self.ask("CHECKPOINT")

    def sizes(self, table):
        """Bytes of the table and of each of its indexes."""
        text = f"""
            SELECT '{table}', pg_table_size('{table}') UNION ALL
            SELECT indexrelid::regclass::text, pg_relation_size(indexrelid)
            FROM pg_index WHERE indrelid = '{table}'::regclass
        """
        return {name: int(size) for name, size in self.ask(text)}

    def marks(self):
        """Bytes of log, whole pages in it, updates of sessions, those in place, and transactions that wrote: so far."""
        time.sleep(11)  # An idle process of the server reports after ten seconds what it has done.
        text = """
            SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), wal_fpi, n_tup_upd, n_tup_hot_upd,
                pg_snapshot_xmax(pg_current_snapshot())
            FROM pg_stat_wal, pg_stat_user_tables WHERE relname = 'sessions'
        """
        return [int(float(value)) for value in self.ask(text)[0]]

    def close(self):
        self.ask(f"DROP DATABASE {self.name} WITH (FORCE)", self.server)


class Sqlite:
    an_id = "substr(replace(replace(hex(randomblob(16)), 'A', 'z'), 'F', '-'), 1, 22)"
    numbers = """
        (WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {rows})
         SELECT n FROM counted)
    """

    def __init__(self, folder):
        self.path = folder / "latchkey.db"
        self.url = f"sqlite://{self.path}"

    def ask(self, text):
        database = sqlite3.connect(self.path, timeout=60)
        with database:
            rows = database.execute(text).fetchall()
        database.close()
        return rows

    def settle(self):
        self.ask("PRAGMA wal_checkpoint(TRUNCATE)")

    def sizes(self, table):
        text = f"""
            SELECT name, sum(pgsize) FROM dbstat
            WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = '{table}') GROUP BY name
        """
        sizes = dict(self.ask(text))
        return {table: sizes.pop(table)} | sizes

    def marks(self):
        """Its log is folded into the file as it goes: there is nothing to add up."""
        return None

    def close(self):
        """It goes with its folder."""


class Latchkey:
    def __init__(self, binary, folder, database):
        client = {"client_id": "web", "client_secret": SECRET, "grant_types": ["password", "refresh_token"]}
        client |= {"scope": "read write", "audience": ["https://api.example.com"]}
        user = {"username": "user-0", "password": PASSWORD, "email": "user-0@example.com"}
        (folder / "bootstrap.json").write_text(json.dumps({"clients": [client], "users": [user]}))
        settings = CHEAP | PROXIED | {"database.url": database.url, "bootstrap.file": "bootstrap.json"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LATCHKEY_")}
        self.env = kept | {f"LATCHKEY__{key.replace('.', '__').upper()}": value for key, value in settings.items()}
        self.binary, self.folder, self.own, self.process = binary, folder, threading.local(), None

    def start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        env = self.env | {"LATCHKEY__SERVER__LISTEN": f"127.0.0.1:{self.port}"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self.binary, "serve"], cwd=self.folder, env=env, stdout=log, stderr=log)
        give_up = time.monotonic() + 60
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", "/health/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            assert self.process.poll() is None and time.monotonic() < give_up, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.1)

    def stop(self):
        self.own = threading.local()
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def post(self, path, user=0, **form):
        """For the user of that number, on a connection that each thread keeps."""
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        basic = base64.b64encode(f"web:{SECRET}".encode()).decode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Basic {basic}"}
        headers["X-Forwarded-For"] = f"203.0.{user // 250 % 250}.{user % 250 + 1}"
        self.own.connection.request("POST", path, urllib.parse.urlencode(form), headers)
        answer = self.own.connection.getresponse()
        text = answer.read()
        assert answer.status == 200, f"{path}: {answer.status} {text}"
        return json.loads(text or "{}")

    def login(self, n):
        form = {"grant_type": "password", "username": f"user-{n}", "password": PASSWORD}
        return self.post("/oauth2/token", n, **form)["refresh_token"]

    def refresh(self, token):
        return self.post("/oauth2/token", grant_type="refresh_token", refresh_token=token)["refresh_token"]

    def revoke(self, token):
        self.post("/oauth2/revoke", token=token)


def copies(database, table, rows, changed):
    """Copies the last row of a table (that of the login), all but the columns that are `changed`."""
    if isinstance(database, Sqlite):
        names = [row[1] for row in database.ask(f"PRAGMA table_info({table})")]
    else:
        own = f"attrelid = '{table}'::regclass AND attnum > 0 AND attgenerated = ''"
        names = [row[0] for row in database.ask(f"SELECT attname FROM pg_attribute WHERE {own} ORDER BY attnum")]
    names = [name for name in names if changed.get(name, name)]
    values = [changed.get(name, f"pattern.{name}") for name in names]
    numbers = database.numbers.format(rows=rows)
    database.ask(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
        f"FROM (SELECT * FROM {table} ORDER BY 1 DESC LIMIT 1) AS pattern, {numbers}"
    )


def tell_sizes(database, at_least):
    for table in TABLES:
        count = int(database.ask(f"SELECT count(*) FROM {table}")[0][0])
        sizes = database.sizes(table)
        if count >= at_least:
            parts = ", ".join(f"{name} {size / count:.0f}" for name, size in sizes.items())
            print(f"{table}: {count} rows, {sum(sizes.values()) / count:.0f} bytes each: {parts}", flush=True)


def measured(database, what, work):
    """Does the work, and tells what each of its parts wrote."""
    before = database.marks()
    count = work()
    if before:
        log, pages, updates, in_place, written = (b - a for a, b in zip(before, database.marks()))
        print(
            f"{what}: {count}, each {log / count:.0f} bytes of log, {pages / count:.2f} whole pages in it, "
            f"{updates / count:.2f} updates, of which {100 * in_place / max(updates, 1):.1f} % in place; "
            f"{count / max(written, 1):.1f} for each transaction",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--postgres", help="a superuser's URL; without it, SQLite")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--logins", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=10, help="refreshes of each session that logged in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="latchkey-sizing-") as folder:
        folder = pathlib.Path(folder)
        database = Postgres(options.postgres) if options.postgres else Sqlite(folder)
        latchkey = Latchkey(options.binary.resolve(), folder, database)
        try:
            run(database, latchkey, options)
        finally:
            latchkey.stop()
            database.close()


def run(database, latchkey, options):
    rows, an_id = options.rows, database.an_id
    latchkey.start()
    latchkey.login(0)
    latchkey.stop()
    began = time.monotonic()
    # Spread over the last 30 days.
    age = f"CAST({rows} - n AS BIGINT) * {30 * 86_400_000 // rows}"
    name = {"sub": f"'usr_' || {an_id}", "username": "'user-' || n", "username_key": "'user-' || n"}
    name["created_at"] = f"pattern.created_at - {age}"
    copies(database, "users", rows, name)
    aged = {column: f"pattern.{column} - {age}" for column in TIMES}
    copies(database, "sessions", rows, aged | {"id": an_id, "sub": f"'usr_' || {an_id}"})
    entry = {"id": "", "at": f"pattern.at - {age}", "sub": f"'usr_' || {an_id}", "sid": an_id}
    copies(database, "audit", rows, entry)
    database.settle()
    print(f"{rows} rows of each written in {time.monotonic() - began:.0f} s", flush=True)

    latchkey.start()
    requests(database, latchkey, options.logins, options.rounds)


def requests(database, latchkey, logins, rounds):
    tokens = []

    def renew(over, times):
        """Renews the sessions whose tokens are at those places, each so many times."""
        for _ in range(times):
            for place, token in zip(over, pool.map(latchkey.refresh, [tokens[place] for place in over])):
                tokens[place] = token
        return len(over) * times

    def log_in():
        tokens.extend(pool.map(latchkey.login, range(1, logins + 1)))
        return logins

    def revoke():
        return len(list(pool.map(latchkey.revoke, tokens)))

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        database.settle()
        measured(database, "logins", log_in)
        tell_sizes(database, logins // 2)
        apart, others = range(0, logins, APART), [place for place in range(logins) if place % APART]
        # The first change of a page after a checkpoint puts the whole page into the log.
        database.settle()
        measured(database, "refreshes, each of another page", lambda: renew(apart, 1))
        measured(database, "refreshes, once more of those", lambda: renew(apart, 1))
        database.settle()
        measured(database, "refreshes, all of a page", lambda: renew(others, 1))
        measured(database, f"refreshes, {rounds} times all of a page", lambda: renew(others, rounds))
        tell_sizes(database, logins // 2)
        database.settle()
        measured(database, "revocations", revoke)
    tell_sizes(database, logins // 2)


if __name__ == "__main__":
    sys.exit(main())
