"""Runs deploy/Dockerfile without Docker, and tests the result.

Where no image can be fetched, a Debian root made by debootstrap stands for the build image, with the machine's own Rust toolchain
in it, and a root with glibc, libgcc and certificates alone for distroless. The instructions are read from the Dockerfile itself and carried out
one by one; one that is not known here is an error. It runs in a mount and a network namespace of its own (deploy/check-image sees to
that), so that it leaves no mount behind and takes no port of the machine.
"""

import fnmatch
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

REPO = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = REPO / "deploy/Dockerfile"
MUST_STOP_WITHIN = 10  # seconds: what the program promises, and what `docker stop` waits

# What the program needs to start: invented values, and URLs with a port on which no program listens.
SETTINGS = {
    "SANITY_PROJECT_ID": "abc123",
    "SANITY_API_WRITE_TOKEN": "invented",
    "SANITY_WEBHOOK_SECRET": "invented secret",
    "SANITY_API_URL": "http://127.0.0.1:9",
    "BIGIN_CLIENT_ID": "1000.invented",
    "BIGIN_CLIENT_SECRET": "invented",
    "BIGIN_REFRESH_TOKEN": "1000.invented",
    "BIGIN_ACCOUNTS_URL": "http://127.0.0.1:9",
    "BIGIN_API_DOMAIN": "http://127.0.0.1:9",
}


def fail(message):
    sys.exit(f"deploy/check-image: {message}")


def say(message):
    print(f"   {message}", flush=True)


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


# --- The Dockerfile ---------------------------------------------------------------------------------------------------


def instructions(text):
    """(instruction, arguments) of each, continuation lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def flags(rest):
    """`--name=value` at the beginning, as pairs, and what follows."""
    found = []
    while match := re.match(r"--([a-z]+)=(\S+)\s+", rest):
        found.append((match[1], match[2]))
        rest = rest[match.end() :]
    return found, rest


def context():
    """Paths below the repository that Docker would be sent: those git knows, less what the .dockerignore leaves out."""
    patterns = [line for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines() if line]
    patterns = [line for line in patterns if not line.startswith("#")]
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPO, capture_output=True, text=True)
    for path in filter(None, listed.stdout.split("\0")):
        parents = [str(parent) for parent in pathlib.PurePath(path).parents][:-1]
        ignored = False
        for pattern in patterns:
            if any(fnmatch.fnmatchcase(name, pattern.lstrip("!")) for name in [path, *parents]):
                ignored = not pattern.startswith("!")
        if not ignored and (REPO / path).is_file():
            yield path


class Stage:
    """A stage of the Dockerfile: its root, and what the instructions so far have set."""

    def __init__(self, root):
        self.root, self.workdir, self.env, self.user = root, "/", {}, "0:0"
        self.config = {}

    def path(self, path):
        return self.root / os.path.join(self.workdir, path).lstrip("/")

    def copy(self, rest, stages, sent):
        options, rest = flags(rest)
        options = dict(options)
        *sources, target = rest.split()
        into_folder = target.endswith("/") or len(sources) > 1
        owner = options.pop("chown", None)
        source_stage = options.pop("from", None)
        if options:
            fail(f"COPY has an option that is not known here: {options}")
        for source in sources:
            if source_stage:
                found = stages[source_stage].path(source)
            else:
                found = sent / source
            if not found.exists():
                fail(f"COPY {source}: there is no such file in {source_stage or 'what Docker is sent'}")
            to = self.path(target)
            if found.is_dir():
                shutil.copytree(found, to, dirs_exist_ok=True)
            else:
                if into_folder:
                    to = to / found.name
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, to)
            if owner:
                run("chown", "-R", owner, to)

    def run_step(self, rest, caches):
        mounts, command = flags(rest)
        for name, value in mounts:
            mount = dict(part.split("=", 1) for part in value.split(","))
            if name != "mount" or mount.get("type") != "cache" or mount["target"] not in caches:
                fail(f"RUN has an option that is not known here: --{name}={value}")
            bind(caches[mount["target"]], self.path(mount["target"]))
        self.execute(["/bin/sh", "-c", command], check=True)
        for _, value in mounts:
            run("umount", self.path(re.search(r"target=([^,]+)", value)[1]))

    def execute(self, arguments, start=False, **options):
        options.setdefault("env", self.env)
        call = [sys.executable, __file__, "--inside", str(self.root), self.workdir, self.user, *arguments]
        return subprocess.Popen(call, **options) if start else subprocess.run(call, **options)


def inside(root, workdir, user, *command):
    """Becomes a program inside a root, which may have no shell to do this."""
    uid, gid = map(int, user.split(":"))
    os.chroot(root)
    os.chdir(workdir)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    os.execvpe(command[0], list(command), os.environ)


def bind(source, target):
    target.mkdir(parents=True, exist_ok=True)
    pathlib.Path(source).mkdir(parents=True, exist_ok=True)
    run("mount", "--bind", source, target)


def run_dockerfile(roots, caches, sent, adopt):
    """Runs the Dockerfile; `roots` has a folder for each image that a stage begins with."""
    stages, stage = {}, None
    for name, rest in instructions(DOCKERFILE.read_text()):
        say(f"{name} {rest}")
        if name == "FROM":
            image, _, alias = rest.partition(" AS ")
            stage = Stage(next((root for start, root in roots.items() if image.startswith(start)), None))
            if stage.root is None:
                fail(f"no root stands for the image {image}")
            stages[alias or "final"] = stage
            adopt(image, stage)
        elif name == "WORKDIR":
            stage.workdir = os.path.join(stage.workdir, rest)
            stage.path(".").mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            stage.copy(rest, stages, sent)
        elif name == "ENV":
            stage.env.update(part.split("=", 1) for part in shlex.split(rest))
        elif name == "USER":
            stage.user = rest
        elif name == "RUN":
            stage.run_step(rest, caches)
        elif name in ("VOLUME", "EXPOSE", "STOPSIGNAL"):
            stage.config[name] = rest
        elif name in ("ENTRYPOINT", "CMD"):
            stage.config[name] = json.loads(rest)
        elif name == "HEALTHCHECK":
            stage.config[name] = json.loads(rest.partition("CMD ")[2])
        else:
            fail(f"{name} is not known here")
    return stages["final"]


# --- The roots --------------------------------------------------------------------------------------------------------


def build_root(root):
    """The Debian that stands for the build image: what the image's own Dockerfile installs beside the toolchain."""
    suite = re.search(r"^FROM rust:\S+-slim-(\w+)", DOCKERFILE.read_text(), re.MULTILINE)[1]
    done = root.with_name(f"{root.name}.{suite}.done")
    if not done.exists():
        shutil.rmtree(root, ignore_errors=True)
        say(f"debootstrap {suite} …")
        # Wherever this machine's own packages come from.
        targets = run("apt-get", "indextargets", "--format", "$(SITE) $(REPO_URI)", capture_output=True, text=True).stdout
        mirror = [line.split()[1] for line in targets.splitlines() if line.split()[1].rstrip("/").endswith("/debian")]
        if not mirror:
            fail("apt knows no Debian mirror on this machine")
        packages = "ca-certificates,gcc,libc6-dev"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, root, mirror[0]]
        log = root.with_suffix(".log")
        with open(log, "w") as output:
            if subprocess.run([str(part) for part in command], stdout=output, stderr=output).returncode:
                fail(f"debootstrap failed:\n{log.read_text()[-2000:]}")
        done.touch()
    return root


def distroless_root(root, build):
    """The files of glibc and libgcc, certificates and the user, and nothing else of the build root."""
    shutil.rmtree(root, ignore_errors=True)
    listed = run("chroot", build, "dpkg", "-L", "libc6", "libgcc-s1", capture_output=True, text=True).stdout.split()
    for path in [*listed, "/etc/ssl/certs/ca-certificates.crt"]:
        source = build / path.lstrip("/")
        if re.search(r"\.so[.0-9]*$|\.crt$", path) and source.is_file():
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")
    (root / "tmp").mkdir(mode=0o1777)
    return root


# --- What comes of it -------------------------------------------------------------------------------------------------


def get(path, port=8080):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def wait_for(what, seconds=30):
    """Until `what()` is true; the program writes nothing that says when."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def try_image(image):
    program = image.config["ENTRYPOINT"]
    uid = int(image.user.split(":")[0])
    if uid == 0:
        fail("the program would run as root")
    version = image.execute([*program, "--version"], capture_output=True, text=True)
    if version.returncode or not version.stdout.startswith("bigin-sync "):
        fail(f"--version: {version.stderr}")
    say(f"--version says {version.stdout.strip()}")

    bare = image.execute([*program, *image.config["CMD"]], capture_output=True, text=True)
    missing = [name for name in ("SANITY_PROJECT_ID", "BIGIN_REFRESH_TOKEN") if f"{name} is missing" not in bare.stderr]
    if bare.returncode != 2 or missing:
        fail(f"without settings it must exit 2 and name them all; it exited {bare.returncode}:\n{bare.stderr}")
    say("without settings: exit 2 and a list of missing settings")

    env = {**image.env, **SETTINGS}
    for life in ("first", "second"):
        process = image.execute([*program, *image.config["CMD"]], start=True, env=env)
        if not wait_for(lambda: get("/readyz") == 200):
            fail(f"/readyz is {get('/readyz')} in its {life} life")
        check = image.execute(image.config["HEALTHCHECK"], env=image.env)
        if check.returncode != 0:
            fail(f"the health check {image.config['HEALTHCHECK']} says {check.returncode} while /readyz is 200")
        process.send_signal(signal.Signals[image.config["STOPSIGNAL"]])
        try:
            code = process.wait(timeout=MUST_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            fail(f"{image.config['STOPSIGNAL']} did not end it within {MUST_STOP_WITHIN} s")
        if code != 0:
            fail(f"{image.config['STOPSIGNAL']} ended it with {code}, and it must be 0")
        say(f"{life} run: ready, healthy, and stopped by {image.config['STOPSIGNAL']} with exit 0")
    if image.execute(image.config["HEALTHCHECK"], env=image.env, capture_output=True).returncode != 1:
        fail("the health check must say 1 where nothing listens")
    database = image.root / "data/bigin-sync.db"
    if (database.stat().st_uid, database.stat().st_mode & 0o777) != (uid, 0o600):
        fail("the database is not the user's own, with mode 0600")
    say("the database belongs to the user")


def lift_loopback():
    """The loopback device of a new network namespace is down."""
    import fcntl
    import struct

    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def main(target, cargo_home, sysroot):
    os.umask(0o022)
    lift_loopback()
    base = pathlib.Path(target).resolve()
    build = base / "build"
    final = distroless_root(base / "final", build)

    sent = base / "sent"
    shutil.rmtree(sent, ignore_errors=True)
    for path in context():
        (sent / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPO / path, sent / path)

    def adopt(image, stage):
        if image.startswith("rust:"):
            version = re.match(r"rust:([0-9.]+)", image)[1]
            stage.env = {
                "PATH": "/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "CARGO_HOME": "/usr/local/cargo",
                # What it needs was fetched before, into the cache that is mounted.
                "CARGO_NET_OFFLINE": "true",
                "HOME": "/nowhere",
            }
            bind(sysroot, stage.root / "usr/local/rust")
            # Where this machine's crates come from, if it says so there.
            for name in ("config.toml", "config"):
                if (pathlib.Path(cargo_home) / name).exists():
                    (stage.root / "usr/local/cargo").mkdir(parents=True, exist_ok=True)
                    shutil.copy2(pathlib.Path(cargo_home) / name, stage.root / "usr/local/cargo" / name)
            for folder in ("dev", "proc"):
                run("mount", "--bind", f"/{folder}", stage.root / folder)
            shutil.rmtree(stage.root / "src", ignore_errors=True)
            shutil.rmtree(stage.root / "data", ignore_errors=True)
            found = stage.execute(["rustc", "--version"], capture_output=True, text=True, check=True).stdout
            say(f"(for the image: {found.strip()})")
            if not found.startswith(f"rustc {version}"):
                say(f"(the image would have {version})")

    caches = {"/usr/local/cargo/registry": pathlib.Path(cargo_home) / "registry", "/src/target": base / "cargo-target"}
    image = run_dockerfile({"rust:": build, "gcr.io/distroless/cc-debian12": final}, caches, sent, adopt)
    try_image(image)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        inside(*sys.argv[2:])
    elif sys.argv[1] == "--root":
        build_root(pathlib.Path(sys.argv[2]).resolve() / "build")
    else:
        main(*sys.argv[1:])
