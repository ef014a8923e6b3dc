"""Tries the deployment files with the program itself: Caddy before it, backups of its database, and the system calls that the systemd unit
leaves it. Needs caddy, sqlite3, strace and litestream, and a network namespace of its own (deploy/check-image sees to that), since
the ports are those of the files.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

from image import REPO, SETTINGS, get, lift_loopback, say, wait_for

SECRET = SETTINGS["SANITY_WEBHOOK_SECRET"]
ADMIN = "an-invented-token-of-32-characters"
SERVICE, CADDY = 8080, 8081
NOBODY = 65532

# As Sanity may send them, and as only their very bytes can be verified.
ODD_BODIES = [
    '{"_id":"lead-%d","_type":"dbrLead","_rev":"r1","crmStatus":"REQUESTED","note":"a \\u0026 b \\u003c c"}',
    '{\n  "crmStatus" : "REQUESTED",\r\n\t"_type": "dbrLead", "_id": "lead-%d"}\n',
    '{"n":12345678901234567890.10,"_rev":"r1","_id":"lead-%d","_id2":null,"_type":"dbrLead","firstName":"Zoë ☃ 🎉"}',
]


def check(good, message):
    if not good:
        sys.exit(f"deploy/check-image: {message}")


class Program:
    """`bigin-sync serve` over a folder of its own, until the end of the block."""

    def __init__(self, program, folder, wrapper=(), **process):
        self.folder = pathlib.Path(folder)
        self.database = self.folder / "bigin-sync.db"
        self.command, self.process_options = [*wrapper, program, "serve"], process
        self.env = {**SETTINGS, "DATABASE_URL": f"sqlite://{self.database}", "ADMIN_TOKEN": ADMIN, "RUST_LOG": "warn"}

    def start(self):
        with open(self.folder / "log", "a") as log:
            options = {"env": self.env, "cwd": self.folder, "stdout": log, "stderr": log, **self.process_options}
            self.process = subprocess.Popen(self.command, **options)
        return self

    def __enter__(self):
        self.start()
        check(wait_for(lambda: get("/readyz") == 200), f"the program does not get ready:\n{(self.folder / 'log').read_text()}")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def sign(body, at=1_795_341_600_000):
    digest = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).digest()
    return f"t={at},v1={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def post(body, port=SERVICE, signature=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"sanity-webhook-signature": signature or sign(body), "content-type": "application/json", "connection": "close"}
    connection.request("POST", "/webhooks/sanity", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def ask_for(leads, port=SERVICE):
    """A webhook for each of these numbers, all of which must be stored."""
    for number in leads:
        status, said = post((ODD_BODIES[0] % number).encode(), port)
        check(status == 202, f"a webhook is answered {status}: {said}")


def known(port=SERVICE):
    """The leads that the service knows of."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/api/syncs?limit=200", headers={"authorization": f"Bearer {ADMIN}"})
    return {sync["leadId"] for sync in json.load(connection.getresponse())["syncs"]}


# --- Caddy ------------------------------------------------------------------------------------------------------------


def before_it_caddy(program, folder):
    env = {
        **os.environ,
        "SITE_ADDRESS": f"http://127.0.0.1:{CADDY}",
        "UPSTREAM": f"127.0.0.1:{SERVICE}",
        "XDG_DATA_HOME": folder,
        "XDG_CONFIG_HOME": folder,
    }
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", REPO / "deploy/Caddyfile"]
    with Program(program, folder) as running, open(pathlib.Path(folder) / "caddy.log", "w") as log:
        caddy = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            check(wait_for(lambda: get("/livez", CADDY) == 200), "Caddy does not start")
            for number, body in enumerate(ODD_BODIES):
                status, said = post((body % number).encode(), CADDY)
                check(status == 202, f"behind Caddy an unusual body is answered {status}: {said}")
            status, _ = post(b'{"_id":"lead-9"}', CADDY, sign(b'{"_id":"lead-8"}'))
            check(status == 401, f"behind Caddy a forged body is answered {status}")
            say("Caddy: signed bytes arrive unchanged")

            status, said = post(b" " * (8 * 1024 * 1024 + 1), CADDY)
            check(status == 413 and b"8 MiB" in said, f"behind Caddy a body over 8 MiB is answered {status}: {said[:200]}")
            check(get("/metrics") == 200 and get("/metrics", CADDY) == 404, "behind Caddy /metrics must not be public")
            say("Caddy: bigin-sync itself rejects large bodies, and /metrics is hidden")

            events = http.client.HTTPConnection("127.0.0.1", CADDY, timeout=10)
            events.request("GET", "/api/events", headers={"authorization": f"Bearer {ADMIN}"})
            stream = events.getresponse()
            ask_for([100], CADDY)
            seen = b""
            while b"lead-100" not in seen:
                line = stream.fp.readline()
                check(line, "the stream of events ends behind Caddy")
                seen += line
            events.close()
            say("Caddy: an event arrives while the stream is open")

            running.process.terminate()
            running.process.wait()
            status, _ = post((ODD_BODIES[0] % 101).encode(), CADDY)
            # Sanity comes again after a 5xx, and never after a 4xx.
            check(status == 502, f"while the program is stopped, a webhook is answered {status}")
            say("Caddy: while bigin-sync is stopped, Sanity gets an answer that it retries")
        finally:
            caddy.terminate()
            caddy.wait()


# --- Backups ----------------------------------------------------------------------------------------------------------


def copies(program, folder, litestream):
    folder = pathlib.Path(folder)
    homes = {name: folder / name for name in ("live", "backup", "vacuum", "litestream")}
    for home in homes.values():
        home.mkdir()
    restored = homes["litestream"] / "bigin-sync.db"
    env = {
        **os.environ,
        "BIGIN_SYNC_DB": str(homes["live"] / "bigin-sync.db"),
        "LITESTREAM_REPLICA_URL": f"file://{folder / 'replica'}",
    }
    config = ["-config", str(REPO / "deploy/litestream.yml")]
    with Program(program, homes["live"]) as running:
        ask_for(range(10))
        shipping = subprocess.Popen([litestream, "replicate", *config], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # Webhooks come in all the while.
            coming = threading.Thread(target=ask_for, args=(range(10, 60),))
            coming.start()
            sqlite(running.database, f".backup '{homes['backup'] / 'bigin-sync.db'}'")
            sqlite(running.database, f"VACUUM INTO '{homes['vacuum'] / 'bigin-sync.db'}'")
            coming.join()
            all_of_them = known()

            def shipped():
                restored.unlink(missing_ok=True)
                command = [litestream, "restore", *config, "-o", restored, env["BIGIN_SYNC_DB"]]
                done = subprocess.run(command, env=env, capture_output=True)
                return done.returncode == 0 and leads_in(restored) == all_of_them

            check(wait_for(shipped, 60), "Litestream does not replicate the stored leads")
        finally:
            shipping.terminate()
            shipping.wait()
    for name in ("backup", "vacuum", "litestream"):
        check(sqlite(homes[name] / "bigin-sync.db", "PRAGMA integrity_check") == "ok", f"the copy by {name} is broken")
        with Program(program, homes[name]):
            found = known()
        least = all_of_them if name == "litestream" else {f"lead-{number}" for number in range(10)}
        check(least <= found <= all_of_them, f"the copy by {name} has {len(found)} of {len(all_of_them)} leads")
        say(f"{name}: a copy made while webhooks arrived; a service started with it has {len(found)} of {len(all_of_them)}")

    sqlite(homes["backup"] / "bigin-sync.db", "PRAGMA user_version = 99")
    newer = Program(program, homes["backup"]).start()
    code, log = newer.process.wait(), (homes["backup"] / "log").read_text()
    check(code == 1 and "newer version" in log, f"a database of a newer version leads to exit {code}:\n{log}")
    say("a database of a newer version is rejected with a message")


def sqlite(database, command):
    done = subprocess.run(["sqlite3", "-cmd", ".timeout 5000", database, command], capture_output=True, text=True)
    check(done.returncode == 0, f"sqlite3: {done.stderr}")
    return done.stdout.strip()


def leads_in(database):
    return set(sqlite(database, "SELECT lead_id FROM sync").split())


# --- The unit's sandbox -----------------------------------------------------------------------------------------------


def allowed_calls(unit):
    """The system calls that the unit's SystemCallFilter leaves, by systemd's own groups."""
    listed = subprocess.run(["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True).stdout
    groups, group = {}, None
    for line in listed.splitlines():
        if line.startswith("@"):
            group = groups.setdefault(line.strip(), set())
        elif group is not None and re.match(r"\s+[@a-z_0-9-]+$", line):
            group.add(line.strip())

    def calls(name):
        return set().union(*map(calls, groups[name])) if name.startswith("@") else {name}

    allowed = set()
    for names in re.findall(r"^SystemCallFilter=(.+)$", unit, re.MULTILINE):
        found = set().union(*(calls(name) for name in names.lstrip("~").split()))
        allowed = allowed - found if names.startswith("~") else allowed | found
    # systemd allows these whatever the filter says.
    return allowed | calls("@default") | {"execve"}


def sandbox(program, folder):
    unit = (REPO / "deploy/bigin-sync.service").read_text()
    trace = pathlib.Path(folder) / "trace"
    wrapper = ["strace", "-f", "-qq", "-o", str(trace)]
    # As another user, as with DynamicUser=: SQLite behaves differently for root.
    reachable = shutil.copy(program, folder)
    os.chown(folder, NOBODY, NOBODY)
    with Program(reachable, folder, wrapper, user=NOBODY, group=NOBODY, extra_groups=[]) as traced:
        ask_for(range(3))
        # The worker reports that there is no answer.
        check(wait_for(lambda: b"sanity" in readyz()), "the worker does not call Sanity")
        program_itself = int(trace.read_text().split()[0])
        os.kill(program_itself, signal.SIGTERM)
        check(traced.process.wait() == 0, "under strace it does not stop with exit 0")
    lines = trace.read_text()
    called = set(re.findall(r"^\d+ +([a-z_0-9]+)\(", lines, re.MULTILINE))
    refused = called - allowed_calls(unit)
    check(not refused, f"the unit's SystemCallFilter rejects calls of the program: {sorted(refused)}")
    families = set(re.findall(r"\bsocket\((AF_[A-Z0-9]+)", lines))
    check(families <= set(re.search(r"^RestrictAddressFamilies=(.+)$", unit, re.MULTILINE)[1].split()), f"families {families}")
    check(not re.search(r"PROT_WRITE\|PROT_EXEC", lines), "MemoryDenyWriteExecute= would prevent it")
    say(f"systemd: the unit allows all {len(called)} system calls that the program makes")


def readyz():
    connection = http.client.HTTPConnection("127.0.0.1", SERVICE, timeout=10)
    connection.request("GET", "/readyz")
    return connection.getresponse().read()


if __name__ == "__main__":
    lift_loopback()
    made, litestream = sys.argv[1:]
    for story, *more in ((before_it_caddy,), (copies, litestream), (sandbox,)):
        with tempfile.TemporaryDirectory() as folder:
            story(os.path.abspath(made), folder, *more)
