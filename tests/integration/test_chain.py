#!/usr/bin/env python3
"""`dstack chain` against a real chain, and against nodes that lie about it:  test_chain.py DSTACK"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DSTACK = sys.argv[1]


def h(byte):
    return byte * 32


class Chain:
    """A chain of its own for one test, the keys of its accounts in files."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [os.path.join(ROOT, "tests/evm/devchain"), "--empty"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line:
            sys.exit(self.process.wait())
        self.facts = json.loads(line)
        self.folder = folder
        self.accounts = [account["address"] for account in self.facts["accounts"]]
        self.keys = [self.key_file(n, a["key"] + "\n") for n, a in enumerate(self.facts["accounts"])]
        self.outputs = []
        self.url = self.facts["rpc"]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()

    def key_file(self, name, text, mode=0o600):
        path = os.path.join(self.folder, f"key-{name}")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def rpc(self, method, *params):
        return post(self.url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})["result"]

    def run(self, *words, key=None, url=None, chain_id=31337, code=0):
        """One command with --json; its document. With key None it only reads."""
        command = [DSTACK, "chain", *words, "--rpc", url or self.url, "--chain-id", str(chain_id), "--json"]
        if key is not None:
            command += ["--key", self.keys[key] if isinstance(key, int) else key]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        self.outputs.append(done.stdout + done.stderr)
        assert done.returncode == code, f"{words}: {done.returncode}, not {code}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def refused(self, text, *words, **options):
        options.setdefault("code", 1)
        said = json.dumps(self.run(*words, **options))
        assert text in said, f"{words}: expected {text!r} in {said}"

    def deployed(self):
        kms = self.run("deploy", key=0)["kms"]
        app = self.run("app", "new", "--kms", kms, "--compose-hash", h("e1"), "--device", h("d1"), key=0)
        return kms, app["app_id"]

    def entries(self, which, address, policy):
        return self.run("status", f"--{which}", address)["entries"].get(policy, [])


def post(url, body):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(opener.open(request, timeout=120))


class Liar:
    """A node that passes everything on to the real one, but for what `lie(body, answer)` changes."""

    def __init__(self, url, lie):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = json.dumps(lie(body, post(url, body))).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def the_journey_of_an_app(chain):
    kms, app = chain.deployed()
    assert kms == "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0", kms
    assert app == "0x75537828f2ce51be7289709686A69CbFDbB714F1", app
    for kind, policy, which, address in [
        ("os-image", "os-image", "kms", kms),
        ("kms-mr", "kms-aggregated-mr", "kms", kms),
        ("kms-device", "kms-device", "kms", kms),
        ("compose-hash", "compose-hash", "app", app),
        ("device", "device", "app", app),
        ("os-image", "os-image", "app", app),
    ]:
        chain.run("allow", kind, h("a7"), f"--{which}", address, key=0)
        assert "0x" + h("a7") in chain.entries(which, address, policy), kind
        chain.run("revoke", kind, h("a7"), f"--{which}", address, key=0)
        assert "0x" + h("a7") not in chain.entries(which, address, policy), kind
    chain.run("allow", "app", app, "--kms", kms, key=0)
    assert len(chain.entries("kms", kms, "approved-app")) == 1
    chain.run("revoke", "app", app, "--kms", kms, key=0)
    chain.run("app", "register", chain.accounts[5], "--kms", kms, key=3)
    assert len(chain.entries("kms", kms, "registered-app")) == 2


def a_manifest_stands_for_its_hash(chain):
    _, app = chain.deployed()
    manifest = os.path.join(chain.folder, "app-compose.json")
    with open(manifest, "w") as file:
        file.write('{"manifest_version": 2}')
    chain.run("allow", "compose-hash", manifest, "--app", app, key=0)
    expected = "0x" + subprocess.run(["sha256sum", manifest], capture_output=True, text=True).stdout[:64]
    assert expected in chain.entries("app", app, "compose-hash")


def every_setting_shows_in_the_status(chain):
    kms, app = chain.deployed()
    guardian = chain.accounts[4]
    info = os.path.join(chain.folder, "info.json")
    with open(info, "w") as file:
        json.dump({"k256_pubkey": "0203", "ca_pubkey": "04", "attestation": "05", "eventlog": ""}, file)
    for name, value, which, address, shown, expected in [
        ("gateway-app-id", app, "kms", kms, "gateway_app_id", app),
        ("app-implementation", guardian, "kms", kms, "app_implementation", guardian),
        ("app-approval-required", "true", "kms", kms, "app_approval_required", True),
        ("guardian", guardian, "kms", kms, "guardian", guardian),
        ("kms-info", info, "kms", kms, "k256_pubkey", "0x0203"),
        ("guardian", guardian, "app", app, "guardian", guardian),
        ("allow-any-device", "true", "app", app, "allow_any_device", True),
        ("require-tcb-up-to-date", "true", "app", app, "require_tcb_up_to_date", True),
        ("restrict-os-images", "true", "app", app, "restrict_os_images", True),
    ]:
        before = chain.run("status", f"--{which}", address)
        chain.run("set", name, value, f"--{which}", address, key=0)
        after = chain.run("status", f"--{which}", address)
        assert before[shown] != expected and after[shown] == expected, (name, before, after)
        assert after["policy_version"] == before["policy_version"] + 1
    chain.run("set", "upgrades-disabled", "true", "--app", app, key=0)
    events = [e["event"] for e in chain.run("history", "--app", app)["events"]]
    assert "UpgradesDisabled" in events


def history_is_an_audit_trail(chain):
    kms, app = chain.deployed()
    chain.run("allow", "compose-hash", h("e2"), "--app", app, "--not-after", "2000000000", key=0)
    chain.run("revoke", "compose-hash", h("e2"), "--app", app, key=0)
    events = chain.run("history", "--app", app)["events"]
    assert [e["event"] for e in events[-5:]] == [
        "ValiditySet", "ComposeHashAdded", "PolicyChanged", "ComposeHashRemoved", "PolicyChanged",
    ], events
    last = events[-1]
    assert last["values"] == {
        "actor": chain.accounts[0], "policy": "compose-hash", "value": "0x" + h("e2"), "enabled": False,
    }, last
    receipt = chain.rpc("eth_getTransactionReceipt", last["transaction"])
    block = chain.rpc("eth_getBlockByNumber", receipt["blockNumber"], False)
    assert last["block"] == int(receipt["blockNumber"], 16)
    assert last["time"] == int(block["timestamp"], 16)
    assert events[-5]["values"]["notAfter"] == 2000000000
    late = chain.run("history", "--app", app, "--from-block", str(last["block"]))["events"]
    assert late == events[-2:], late
    assert chain.run("history", "--app", app, "--to-block", "3")["events"] == []


def printed_calls_do_what_the_command_would(chain):
    _, app = chain.deployed()
    call, = chain.run("allow", "compose-hash", h("e5"), "--app", app, "--calldata")["calls"]
    assert "0x" + h("e5") not in chain.entries("app", app, "compose-hash")
    assert call["to"] == app and call["value"] == "0", call
    chain.rpc("eth_sendTransaction", {"from": chain.accounts[0], "to": call["to"], "data": call["data"]})
    assert "0x" + h("e5") in chain.entries("app", app, "compose-hash")


def ownership_moves_in_two_steps(chain):
    kms, _ = chain.deployed()
    chain.run("owner", "transfer", chain.accounts[1], "--kms", kms, key=0)
    status = chain.run("status", "--kms", kms)
    assert (status["owner"], status["pending_owner"]) == tuple(chain.accounts[:2]), status
    chain.refused("OwnableUnauthorizedAccount", "owner", "accept", "--kms", kms, key=2)
    chain.run("owner", "accept", "--kms", kms, key=1)
    status = chain.run("status", "--kms", kms)
    assert (status["owner"], status["pending_owner"]) == (chain.accounts[1], "nobody"), status
    chain.refused("OwnableUnauthorizedAccount", "allow", "os-image", h("a1"), "--kms", kms, key=0)
    chain.refused("Ownership cannot be renounced", "owner", "renounce", "--kms", kms, key=1)


def a_guardian_revokes_and_allows_nothing(chain):
    _, app = chain.deployed()
    chain.run("set", "guardian", chain.accounts[2], "--app", app, key=0)
    chain.run("revoke", "compose-hash", h("e1"), "--app", app, key=2)
    assert chain.entries("app", app, "compose-hash") == []
    chain.refused("OwnableUnauthorizedAccount", "allow", "compose-hash", h("e1"), "--app", app, key=2)


def a_timelock_gives_notice(chain):
    kms, _ = chain.deployed()
    lock = chain.run("timelock", "--min-delay", "3600", "--proposer", chain.accounts[1], key=0)["timelock"]
    chain.run("owner", "transfer", lock, "--kms", kms, key=0)
    accept = ["owner", "accept", "--kms", kms, "--timelock", lock]
    allow = ["allow", "os-image", h("a1"), "--kms", kms, "--timelock", lock]
    for words in (accept, allow):
        chain.refused("TimelockInsufficientDelay", *words, "--delay", "60", key=1)
        chain.refused("AccessControlUnauthorizedAccount", *words, "--delay", "3600", key=0)
        sent, = chain.run(*words, "--delay", "3600", key=1)["transactions"]
        assert sent["events"][0]["event"] == "CallScheduled", sent
        chain.refused("TimelockUnexpectedOperationState", *words, "--execute", key=3)
        chain.rpc("evm_increaseTime", 3600)
        chain.rpc("evm_mine")
        chain.run(*words, "--execute", key=3)
    assert chain.run("status", "--kms", kms)["owner"] == lock
    assert chain.entries("kms", kms, "os-image") == ["0x" + h("a1")]


def a_call_that_would_revert_costs_nothing(chain):
    kms, _ = chain.deployed()
    before = chain.rpc("eth_getTransactionCount", chain.accounts[3], "pending")
    chain.refused("OwnableUnauthorizedAccount", "allow", "os-image", h("a1"), "--kms", kms, key=3)
    assert chain.rpc("eth_getTransactionCount", chain.accounts[3], "pending") == before


def what_cannot_be_meant_is_a_usage_error(chain):
    kms, app = chain.deployed()
    wrong_checksum = kms[:-1] + ("0" if kms[-1] != "0" else "1")
    for words in (
        ["allow", "os-image", h("a1")],
        ["allow", "os-image", h("a1"), "--kms", kms, "--app", app],
        ["allow", "compose-hash", h("a1"), "--kms", kms],
        ["allow", "kms-mr", h("a1"), "--app", app],
        ["allow", "compose-hash", "a1", "--app", app],
        ["allow", "wishes", h("a1"), "--app", app],
        ["allow", "os-image", h("a1"), "--kms", wrong_checksum],
        ["allow", "app", app, "--kms", kms, "--not-after", "5"],
        ["set", "allow-any-device", "maybe", "--app", app],
        ["set", "upgrades-disabled", "false", "--app", app],
        ["set", "colour", "blue", "--app", app],
        ["owner", "accept", "--kms", kms, "--timelock", app],
    ):
        chain.run(*words, key=0, code=2)
    chain.run("allow", "os-image", h("a1"), "--kms", kms, code=2)  # no key


def a_wrong_chain_is_refused(chain):
    chain.refused("is on chain 31337, not on 1", "deploy", key=0, chain_id=1)


def a_key_that_others_can_read_is_refused(chain):
    key = chain.facts["accounts"][0]["key"]
    for mode in (0o640, 0o604, 0o644):
        chain.refused("others can read this key", "deploy", key=chain.key_file("open", key, mode))
    for text in ("", "00" * 32, "ff" * 32, "zz" * 32, key[:-1], key + "0"):
        chain.refused("not a private key", "deploy", key=chain.key_file("bad", text))
    chain.run("deploy", key=os.path.join(chain.folder, "absent"), code=3)


def a_new_key_is_private_and_never_replaced(chain):
    path = os.path.join(chain.folder, "new")
    made = chain_key(path, "--new")
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert chain_key(path) == made
    again = subprocess.run([DSTACK, "chain", "key", path, "--new"], capture_output=True)
    assert again.returncode == 1 and chain_key(path) == made


def chain_key(path, *words):
    done = subprocess.run([DSTACK, "chain", "key", path, "--json", *words], capture_output=True, text=True)
    return json.loads(done.stdout)["address"]


def too_high_a_fee_is_refused(chain):
    block = int(chain.rpc("eth_blockNumber"), 16)
    chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(400 * 10**9))
    chain.rpc("evm_mine")
    chain.refused("wei per gas", "deploy", key=0)
    assert int(chain.rpc("eth_blockNumber"), 16) == block + 1
    chain.run("deploy", "--max-fee", "2000", key=0)


def confirmations_are_waited_for(chain):
    kms, _ = chain.deployed()
    words = ["allow", "os-image", h("a1"), "--kms", kms, "--confirmations", "3"]
    chain.refused("not confirmed yet", *words, "--timeout", "1", key=0, code=3)
    stop = threading.Event()

    def mine():
        while not stop.wait(0.05):
            chain.rpc("evm_mine")

    miner = threading.Thread(target=mine)
    miner.start()
    try:
        sent, = chain.run(*words, key=0)["transactions"]
    finally:
        stop.set()
        miner.join()
    assert int(chain.rpc("eth_blockNumber"), 16) >= sent["block"] + 2


def a_node_that_answers_little_at_once_is_asked_in_parts(chain):
    kms, app = chain.deployed()
    for n in range(5):
        chain.run("allow", "compose-hash", h(f"c{n}"), "--app", app, key=0)

    def limited(body, answer):
        if body["method"] == "eth_getLogs":
            asked = body["params"][0]
            if int(asked["toBlock"], 16) - int(asked["fromBlock"], 16) >= 2:
                return {"jsonrpc": "2.0", "id": body["id"], "error": {"code": -32005, "message": "range"}}
        return answer

    whole = chain.run("history", "--app", app)
    assert chain.run("history", "--app", app, url=Liar(chain.url, limited).url) == whole


def lies_of_a_node_are_noticed(chain):
    kms, app = chain.deployed()

    def changed(method, change):
        def lie(body, answer):
            if body["method"] == method and answer.get("result"):
                answer["result"] = change(answer["result"])
            return answer

        return Liar(chain.url, lie).url

    def other_hash(receipt):
        return {**receipt, "transactionHash": "0x" + h("77")}

    def reverted(receipt):
        return {**receipt, "status": "0x0"}

    def foreign(logs):
        return logs + [{**logs[-1], "address": kms}]

    def backwards(logs):
        return logs + [{**logs[-1], "blockNumber": "0x1"}]

    allow = ["allow", "compose-hash", h("e6"), "--app", app]
    history = ["history", "--app", app]
    for text, method, change, words, key in (
        ("by another hash", "eth_sendRawTransaction", lambda _: "0x" + h("77"), allow, 0),
        ("another transaction", "eth_getTransactionReceipt", other_hash, allow, 0),
        ("was reverted in block", "eth_getTransactionReceipt", reverted, allow, 0),
        ("gas is more than a block holds", "eth_estimateGas", lambda _: "0x7fffffff", allow, 0),
        ("on chain 1, not on 31337", "eth_chainId", lambda _: "0x1", allow, 0),
        ("quantity", "eth_getTransactionCount", lambda _: "12", allow, 0),
        ("not asked for", "eth_getLogs", foreign, history, None),
        ("not asked for", "eth_getLogs", backwards, history, None),
        ("logs are no array", "eth_getLogs", lambda _: "none", history, None),
        ("no app contract", "eth_call", lambda _: "0x", ["status", "--app", app], None),
    ):
        chain.refused(text, *words, key=key, url=changed(method, change))


def sec_16_no_key_appears_in_any_output(chain):
    key = chain.facts["accounts"][0]["key"][2:]
    chain.deployed()
    chain.refused("", "deploy", key=chain.key_file("short", key[:-1]))
    chain.refused("", "deploy", key=chain.key_file("open", key, 0o644))
    said = "".join(chain.outputs).lower()
    assert said and key not in said and key[:-1] not in said


TESTS = [
    the_journey_of_an_app,
    a_manifest_stands_for_its_hash,
    every_setting_shows_in_the_status,
    history_is_an_audit_trail,
    printed_calls_do_what_the_command_would,
    ownership_moves_in_two_steps,
    a_guardian_revokes_and_allows_nothing,
    a_timelock_gives_notice,
    a_call_that_would_revert_costs_nothing,
    what_cannot_be_meant_is_a_usage_error,
    a_wrong_chain_is_refused,
    a_key_that_others_can_read_is_refused,
    a_new_key_is_private_and_never_replaced,
    too_high_a_fee_is_refused,
    confirmations_are_waited_for,
    a_node_that_answers_little_at_once_is_asked_in_parts,
    lies_of_a_node_are_noticed,
    sec_16_no_key_appears_in_any_output,
]


def main():
    failed = 0
    for test in TESTS:
        name = test.__name__.replace("_", " ").replace("sec 16", "sec_16")
        with tempfile.TemporaryDirectory() as folder:
            chain = Chain(folder)
            try:
                test(chain)
                print(f"ok {name}", flush=True)
            except Exception as error:
                failed += 1
                print(f"not ok {name}: {type(error).__name__}: {error}", flush=True)
            finally:
                chain.stop()
    sys.exit(1 if failed else 0)


main()
