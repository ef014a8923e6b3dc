"""Checks what no tool knows: that each setting the files of deploy/ give is one of bigin-sync's, that fly.toml has Fly's keys, and that what is said
in several places is the same in all of them."""

import json
import pathlib
import re
import sys
import tomllib

import yaml

REPO = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = REPO / "deploy"

# Settings of a host, not of the program.
HOSTS = {"PORT"}

# Without these it does not start, so that each way to run it must give them or say where they come from.
SECRETS_NEEDED = {"SANITY_API_WRITE_TOKEN", "SANITY_WEBHOOK_SECRET", "BIGIN_CLIENT_SECRET", "BIGIN_REFRESH_TOKEN"}
PLAIN_NEEDED = {"SANITY_PROJECT_ID", "BIGIN_CLIENT_ID"}

# Of fly.toml, as far as ours uses it; from Fly's reference of its configuration.
FLY = {
    "": {"app", "primary_region", "kill_signal", "kill_timeout", "build", "env", "mounts", "http_service", "checks", "restart", "vm"},
    "build": {"dockerfile", "ignorefile"},
    "mounts": {"source", "destination", "snapshot_retention"},
    "http_service": {"internal_port", "force_https", "auto_stop_machines", "auto_start_machines", "min_machines_running", "checks"},
    "http_service.checks": {"method", "path", "interval", "timeout", "grace_period"},
    "checks.alive": {"type", "port", "method", "path", "interval", "timeout", "grace_period"},
    "restart": {"policy", "retries"},
    "vm": {"size", "memory"},
}

faults = []


def read(name):
    return (DEPLOY / name).read_text()


def known_settings():
    """Names in capitals, from the file of defaults; of those that are secrets also NAME_FILE."""
    defaults = (REPO / "config/default.toml").read_text().split("[mapping]")[0]
    names = {name.upper() for name in re.findall(r"^(?:# )?([a-z_]+) = ", defaults, re.MULTILINE)}
    listed = re.search(r"SECRETS: \[&str; \d+\] = \[(.*?)\]", (REPO / "src/config.rs").read_text(), re.DOTALL)[1]
    return names | {f"{name}_FILE" for name in re.findall(r'"([A-Z_]+)"', listed)} | HOSTS


def env_file(text):
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def settings_of_each():
    """file → setting → value, as far as the file gives one."""
    example = env_file(read("bigin-sync.env.example"))
    found = {"bigin-sync.env.example": example}
    docker = re.search(r"^ENV (.*?[^\\])$", read("Dockerfile"), re.MULTILINE | re.DOTALL)[1]
    found["Dockerfile"] = image = dict(part.split("=", 1) for part in docker.replace("\\\n", " ").split())
    for name in ("compose.yaml", "compose.postgres.yaml"):
        service = yaml.safe_load(read(name))["services"]["bigin-sync"]
        if service["env_file"] != "bigin-sync.env":
            faults.append(f"{name}: env_file must be bigin-sync.env, a copy of the example")
        found[name] = {**image, **example, **service["environment"]}
        for setting, path in service["environment"].items():
            if setting.endswith("_FILE") and path.removeprefix("/run/secrets/") not in service["secrets"]:
                faults.append(f"{name}: {setting} names a secret that the service does not have: {path}")
    unit = re.findall(r"^Environment=([A-Z_]+)=(.*)$", read("bigin-sync.service"), re.MULTILINE)
    found["bigin-sync.service"] = {**example, **dict(unit)}
    loaded = set(re.findall(r"^LoadCredential=([a-z_]+):", read("bigin-sync.service"), re.MULTILINE))
    if {path.removeprefix("%d/") for name, path in unit if name.endswith("_FILE")} != loaded:
        faults.append("bigin-sync.service: the loaded and the used credentials differ")
    config, _, stateful = yaml.safe_load_all(read("kubernetes.yaml"))
    pod = stateful["spec"]["template"]["spec"]["containers"][0]
    found["kubernetes.yaml"] = {**image, **config["data"], **{entry["name"]: entry["value"] for entry in pod["env"]}}
    # Fly's secrets are taken in by a command, which stands in the file's head with their names.
    fly = read("fly.toml")
    secrets = re.search(r"^# +fly secrets import .*# (.*)$", fly, re.MULTILINE)[1]
    found["fly.toml"] = {**image, **tomllib.loads(fly)["env"], **dict.fromkeys(secrets.split(), "of a file")}
    return found


def check_settings():
    known = known_settings()
    for route in sorted((DEPLOY / "nextjs/app").rglob("*.ts")):
        for setting in re.findall(r"process\.env\.([A-Z_]+)", route.read_text()):
            if setting not in known:
                faults.append(f"{route.relative_to(DEPLOY)}: {setting} is not a setting of bigin-sync")
    for name, settings in settings_of_each().items():
        faults.extend(f"{name}: {setting} is not a setting of bigin-sync" for setting in sorted(settings.keys() - known))
        if name in ("Dockerfile", "bigin-sync.env.example"):
            continue
        for needed in sorted(SECRETS_NEEDED | PLAIN_NEEDED):
            ways = {needed, f"{needed}_FILE"} & {setting for setting, value in settings.items() if value}
            if len(ways) != 1:
                faults.append(f"{name}: {needed} must be set once, and is set {len(ways)} times")


def check_fly():
    fly = tomllib.loads(read("fly.toml"))

    def walk(name, value):
        for table in value if isinstance(value, list) else [value]:
            if name == "env" or not isinstance(table, dict) or name == "checks":
                continue
            unknown = table.keys() - FLY.get(name, set())
            faults.extend(f"fly.toml: {name or 'the top'} has {key}, which is not one of Fly's keys" for key in sorted(unknown))
            for key, inner in table.items():
                if isinstance(inner, (dict, list)):
                    walk(f"{name}.{key}".lstrip("."), inner)

    walk("", fly)
    for name, value in fly["checks"].items():
        walk(f"checks.{name}", value)
    if fly["http_service"]["auto_stop_machines"] != "off":
        faults.append("fly.toml: a stopped machine sends nothing")
    if not (DEPLOY / fly["build"]["dockerfile"]).exists() or not (DEPLOY / fly["build"]["ignorefile"]).exists():
        faults.append("fly.toml: the Dockerfile or its ignore file is missing")


def check_same():
    """What is said in several places."""
    docker, guide = read("Dockerfile"), (REPO / "docs/SETUP.md").read_text()
    port = re.search(r"LISTEN_ADDR=0\.0\.0\.0:(\d+)", docker)[1]
    _, _, stateful = yaml.safe_load_all(read("kubernetes.yaml"))
    pod = stateful["spec"]["template"]["spec"]["containers"][0]
    ports = {
        "Dockerfile's EXPOSE": re.search(r"^EXPOSE (\d+)$", docker, re.MULTILINE)[1],
        "fly.toml": str(tomllib.loads(read("fly.toml"))["http_service"]["internal_port"]),
        "kubernetes.yaml": str(pod["ports"][0]["containerPort"]),
        "compose.yaml": yaml.safe_load(read("compose.yaml"))["services"]["bigin-sync"]["ports"][0].rsplit(":")[-1],
    }
    faults.extend(f"{place}: the port is {other}, and {port} in the image" for place, other in ports.items() if other != port)
    rust = re.search(r'^rust-version = "([0-9.]+)"', (REPO / "Cargo.toml").read_text(), re.MULTILINE)[1]
    image = re.search(r"^FROM rust:([0-9.]+)", docker, re.MULTILINE)[1]
    if [int(part) for part in image.split(".")] < [int(part) for part in rust.split(".")]:
        faults.append(f"Dockerfile: Rust {image} is older than the {rust} in Cargo.toml")
    rule = json.loads(read("sanity/webhook.json"))["rule"]
    for part in ("filter", "projection"):
        if f"`{rule[part]}`" not in guide:
            faults.append(f"sanity/webhook.json: the {part} differs from docs/SETUP.md")


for check in (check_settings, check_fly, check_same):
    check()
    # What comes after would stumble over the same.
    if faults:
        break
for fault in faults:
    print(f"deploy/{fault}", file=sys.stderr)
sys.exit(1 if faults else 0)
