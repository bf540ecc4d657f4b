"""A real container engine for tests: dockerd in a mount namespace of its own, with its own state."""

import contextlib
import glob
import http.client
import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tarfile
import time

# Prints a line on each channel ten times a second, `count` times; then ends with status 3.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 0; i < count; i++) {
        printf("out %d caf\xc3\xa9 \x1b[32mgreen\x1b[0m\n", i);
        fflush(stdout);
        fprintf(stderr, "err %d\n", i);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return 3;
}
"""
START = r"""
set -e
if [ -n "$ROOT" ]; then
    # The guest image is built from this root, so nothing may change it, and dockerd makes folders
    # here and there: each of its own is bound read-only below a root in memory.
    R=$WORK/root
    mount -t tmpfs tmpfs "$R"
    for p in "$ROOT"/*; do
        n=$R/${p##*/}
        if [ -L "$p" ]; then
            cp -P "$p" "$n"
        elif [ -d "$p" ]; then
            mkdir "$n"
            mount --bind "$p" "$n"
            mount -o remount,bind,ro "$n"
        fi
    done
    for d in proc sys dev; do
        mkdir -p "$R/$d"
        mount --rbind "/$d" "$R/$d"
    done
    for d in run tmp opt var; do
        mkdir -p "$R/$d"
        mount -t tmpfs tmpfs "$R/$d"
    done
    mkdir "$R/var/lib"
fi
mount --bind "$WORK/run" "$R/run"
mount -t tmpfs tmpfs "$R/var/lib"
exec ${R:+chroot "$R"} dockerd --storage-driver=vfs --iptables=false --ip6tables=false \
    --bridge=none -H unix:///run/docker.sock --data-root /var/lib/docker --exec-root /run/dx \
    --pidfile /run/docker.pid
"""
DEADLINE = 90


def where():
    """The root to start it in ("" for this machine's), or None where there is none."""
    if os.geteuid() != 0:
        return None
    roots = glob.glob("build/image/roots/runtime-*") + glob.glob(
        os.environ.get("DSTACK_IMAGE_CACHE", "/nonexistent") + "/roots/runtime-*")
    found = [root for root in roots if os.access(root + "/usr/sbin/dockerd", os.X_OK)]
    return found[0] if found else "" if shutil.which("dockerd") else None


class Engine:
    def __init__(self, path):
        self.path = path

    def call(self, method, target, body=None, kind="application/json"):
        connection = http.client.HTTPConnection("docker", timeout=DEADLINE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.path))
        connection.request(method, target, body, {"Content-Type": kind})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 400:
            raise SystemExit(f"{method} {target}: {answer.status} {text}")
        return text

    def load(self, folder):
        source, program = folder / "print.c", folder / "print"
        source.write_text(PROGRAM)
        subprocess.run(["cc", "-static", "-o", program, source], check=True)
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as out:
            out.add(program, "print")
        self.call("POST", "/images/create?fromSrc=-&repo=print&tag=1", tar.getvalue(),
                  "application/x-tar")

    def start(self, name, count, tty=False):
        made = json.loads(self.call("POST", f"/containers/create?name={name}", json.dumps({
            "Image": "print:1", "Cmd": ["/print", str(count)], "Tty": tty,
            "Env": ["SECRET=never-to-be-seen"], "HostConfig": {"NetworkMode": "none"}})))
        self.call("POST", f"/containers/{name}/start")
        return made["Id"]


@contextlib.contextmanager
def engine(folder, root):
    work = folder / "docker"
    for name in ("root", "run"):
        (work / name).mkdir(parents=True)
    with open(work / "log", "wb") as log:
        process = subprocess.Popen(["unshare", "-m", "sh", "-c", START], stdout=log, stderr=log,
                                   env=os.environ | {"ROOT": root, "WORK": str(work), "R": ""})
    try:
        path, end = work / "run/docker.sock", time.time() + DEADLINE
        while not path.exists() and process.poll() is None and time.time() < end:
            time.sleep(0.1)
        yield Engine(path) if path.exists() else None, pathlib.Path(work / "log")
    finally:
        process.terminate()
        process.wait(DEADLINE)
