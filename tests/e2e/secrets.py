#!/usr/bin/env python3
"""Looks for the secrets of an end-to-end run where they must not be.

  secrets.py logs STATE DSTACK        no secret in any log or boot message below STATE
  secrets.py files STATE DSTACK       every file below STATE that holds one is for its owner alone
  secrets.py processes STATE DSTACK   none in the arguments or the environment of any process

DSTACK is the command line, which derives the app's keys from the KMS's as the KMS does.
"""
import base64
import json
import os
import re
import stat
import subprocess
import sys
import tempfile


def read(path):
    with open(path, "rb") as file:
        return file.read()


def pem_scalars(pem):
    """The private scalars of EC keys in PEM: an OCTET STRING of 32 bytes in SEC 1 and PKCS #8."""
    found = []
    for body in re.findall(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", pem, re.S):
        der = base64.b64decode(body)
        found += [der[m.end():m.end() + 32] for m in re.finditer(rb"\x04\x20", der)][:1]
    return found


def derive(dstack, scheme, root, app_id, *more):
    with tempfile.NamedTemporaryFile("w", suffix=".hex") as file:  # made with mode 0600
        file.write(root.hex())
        file.flush()
        done = subprocess.run([dstack, "key", "derive", "--scheme", scheme, "--root",
                               "@" + file.name, "--app-id", app_id, "--json", *more],
                              check=True, capture_output=True)
    return bytes.fromhex(json.loads(done.stdout)["key"])


def app_secrets(state, dstack, root, k256):
    found = {}
    instances = re.findall(rb'app keys released app_id="(\w*)" instance_id="(\w*)"',
                           read(state + "/kms.log"))
    for app, instance in sorted(set(instances)):
        app, instance = app.decode(), instance.decode()
        found["CA key of app " + app] = derive(dstack, "app-ca-key", root, app)
        found["environment key of app " + app] = derive(dstack, "env-crypt-key", root, app)
        found["k256 key of app " + app] = derive(dstack, "k256-key", k256, app)
        found["disk key of instance " + instance] = derive(
            dstack, "disk-crypt-key", root, app, "--instance-id", instance)
    return found


def gather(state, dstack):
    """Name -> bytes of every secret that the run made and that can be known from outside."""
    found = {}
    for folder, _, names in os.walk(state):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".key") and os.path.isfile(path) and "/images/" not in path:
                data = read(path)
                for scalar in pem_scalars(data) or [data]:
                    found[path] = scalar
    root = found[state + "/kms/root-ca.key"]
    k256 = found[state + "/kms/root-k256.key"]
    found.update(app_secrets(state, dstack, root, k256))
    wireguard = base64.b64decode(found.pop(state + "/gateway/wg.key"))
    found["WireGuard key of the gateway"] = wireguard
    found["attestation key"] = bytes.fromhex(
        json.loads(read(state + "/sim/keys.json"))["attestation_key"])
    for line in read(state + "/app.env").decode().splitlines():
        name, value = line.split("=", 1)
        found["environment variable " + name] = value.encode()
    for name in os.listdir(state + "/gateway/sealed"):
        found["sealed " + name] = read(state + "/gateway/sealed/" + name)
    for path in (state + "/kms/setup-token", state + "/gateway/setup-token"):
        if os.path.exists(path):
            found[path] = read(path).strip()
    short = [name for name, value in found.items() if len(value) < 16]
    if short:
        sys.exit("too short to look for: " + ", ".join(short))
    return found


def spellings(secret):
    """The ways in which a program might print it."""
    text = base64.b64encode(secret)
    return {secret, secret.hex().encode(), secret.hex().upper().encode(),
            text.rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"=")}


def search(secrets, places):
    """places: (name, bytes). Gives (place, secret's name) of every hit."""
    wanted = [(name, form) for name, secret in secrets.items() for form in spellings(secret)]
    return sorted({(place, name) for place, data in places for name, form in wanted if form in data})


def log_places(state):
    for folder, _, names in os.walk(state):
        for name in names:
            path = os.path.join(folder, name)
            log = re.search(r"\.log(\.\d+)?$|^runtime\.json$|serial|std(out|err)", name)
            if log and os.path.isfile(path):
                yield path, read(path)


def file_places(state):
    for folder, _, names in os.walk(state):
        for name in names:
            path = os.path.join(folder, name)
            # Disks are the guest's; images and the registry's layers are public.
            if os.path.isfile(path) and name != "hda.img" and not os.path.islink(path) and \
                    not path.startswith((state + "/images/", state + "/registry/")):
                yield path, read(path)


def process_places():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for part in ("cmdline", "environ"):
            try:
                yield f"{part} of process {pid}", read(f"/proc/{pid}/{part}")
            except OSError:
                pass  # ended, or not ours


def check_finds(places, known):
    """A search that finds nothing must at least find what is there."""
    if not search({"known": known}, places):
        sys.exit("the search does not find what must be there")


def main():
    mode, state, dstack = sys.argv[1:]
    secrets = gather(state, dstack)
    app_id = next(n for n in secrets if n.startswith("k256 key"))[-40:].encode()
    if mode == "logs":
        places = list(log_places(state))
        check_finds(places, app_id)
        hits = search(secrets, places)
    elif mode == "files":
        places = list(file_places(state))
        secrets.pop("environment variable GREETING")  # the app shows it to whoever asks
        holders = {path for path, _ in search(secrets, places)}
        check_finds([p for p in places if p[0].endswith("root-k256.key")],
                    secrets[state + "/kms/root-k256.key"])
        hits = [(path, oct(stat.S_IMODE(os.stat(path).st_mode))) for path in sorted(holders)
                if os.stat(path).st_mode & 0o077]
        print(f"@ {len(holders)} files hold secrets")
    else:
        places = list(process_places())
        check_finds(places, state.encode())
        hits = search(secrets, places)
    for place, what in hits:
        print(f"{place}: {what}")
    print(f"@ {len(secrets)} secrets, {len(places)} places")
    sys.exit(1 if hits else 0)


main()
