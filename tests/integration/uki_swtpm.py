"""A software TPM, extended by the events that `dstack measure uki` lists, holds the registers that it
predicts.

    uki_swtpm.py DSTACK IMAGE
"""
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile

SESSIONS, NO_SESSIONS = 0x8002, 0x8001  # TPM_ST_SESSIONS, TPM_ST_NO_SESSIONS
STARTUP, PCR_EXTEND, PCR_READ = 0x144, 0x182, 0x17E
BANKS = {"sha256": (0x000B, 32), "sha384": (0x000C, 48)}
PASSWORD = bytes.fromhex("40000009 0000 00 0000")  # an empty password session


def call(tpm, tag, code, body):
    tpm.sendall(struct.pack(">HII", tag, 10 + len(body), code) + body)
    answer = b""
    while len(answer) < 10 or len(answer) < struct.unpack(">I", answer[2:6])[0]:
        more = tpm.recv(4096)
        if not more:
            raise RuntimeError("the TPM closed its socket")
        answer += more
    status = struct.unpack(">I", answer[6:10])[0]
    if status != 0:
        raise RuntimeError(f"command {code:#x}: status {status:#x}")
    return answer[10:]


def extend(tpm, pcr, bank, digest):
    algorithm, _ = BANKS[bank]
    body = struct.pack(">II", pcr, len(PASSWORD)) + PASSWORD
    call(tpm, SESSIONS, PCR_EXTEND, body + struct.pack(">IH", 1, algorithm) + digest)


def read(tpm, pcr, bank):
    algorithm, size = BANKS[bank]
    bitmap = bytearray(3)
    bitmap[pcr // 8] |= 1 << pcr % 8
    answer = call(tpm, NO_SESSIONS, PCR_READ, struct.pack(">IHB", 1, algorithm, 3) + bitmap)
    return answer[-size:]


def start_tpm(folder):
    path = os.path.join(folder, "tpm")
    process = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--server",
         f"type=unixio,path={path}", "--flags", "not-need-init"])
    tpm = socket.socket(socket.AF_UNIX)
    tpm.settimeout(60)
    while True:
        try:
            tpm.connect(path)
            break
        except (FileNotFoundError, ConnectionRefusedError):
            if process.poll() is not None:
                raise RuntimeError("swtpm ended") from None
            os.sched_yield()
    call(tpm, NO_SESSIONS, STARTUP, struct.pack(">H", 0))
    return process, tpm


def predict(dstack, image, firmware, bank):
    command = [dstack, "measure", "uki", image, "--json", "--firmware", firmware, "--bank", bank]
    if firmware == "gcp":
        command += ["--gpt-digest", "5a" * BANKS[bank][1]]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def compare(dstack, image, firmware, bank):
    prediction = predict(dstack, image, firmware, bank)
    with tempfile.TemporaryDirectory() as folder:
        process, tpm = start_tpm(folder)
        try:
            for event in prediction["events"]:
                extend(tpm, event["pcr"], bank, bytes.fromhex(event["digest"]))
            for pcr, value in prediction["pcrs"].items():
                held = read(tpm, int(pcr), bank).hex()
                if held != value:
                    sys.exit(f"{firmware} {bank} PCR {pcr}: the TPM holds {held}, not {value}")
        finally:
            tpm.close()
            process.terminate()
            process.wait()
    print(f"ok - {firmware} {bank}: {len(prediction['events'])} events, "
          f"PCR {', '.join(prediction['pcrs'])}")


def main():
    dstack, image = sys.argv[1:]
    if shutil.which("swtpm") is None:
        if "CI" in os.environ:
            sys.exit("swtpm is absent in CI")
        print("SKIP: swtpm is absent")
        sys.exit(77)
    for firmware, bank in (("uefi", "sha256"), ("aws", "sha384"), ("gcp", "sha256")):
        compare(dstack, image, firmware, bank)


main()
