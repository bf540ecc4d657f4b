#!/usr/bin/python3
"""The agent's public pages: switches, escaping, logs, metrics, and how they look in a browser.

usage: test_agent_pages.py PAGE_AGENT [--docker]
The agent is real, its TEE simulated. Its container engine is docker_recorded.py, for contents that no
real engine gives; with --docker a real dockerd, as root, from the image's build root or this machine.
"""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import docker_real
from page_chromium import Browser, check, fits

HERE = pathlib.Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
ALL = ',"public_logs":true,"public_sysinfo":true'
NONE = ',"public_tcbinfo":false'
DEADLINE = 60


@contextlib.contextmanager
def agent(program, engine, members):
    process = subprocess.Popen([program, str(engine), members], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        port, instrumented = map(int, process.stdout.readline().split())
        yield port, None if instrumented else process.pid
    finally:
        process.stdin.close()
        check("the agent ends well", process.wait(DEADLINE) == 0)


def ask(port, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    connection.putrequest(method, path, skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body.decode("utf-8", "strict")


def wait_for(holds):
    end = time.time() + DEADLINE
    while time.time() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


# ---- contents ------------------------------------------------------------------------------------

def dashboard(port):
    status, headers, page = ask(port, "/")
    check("the dashboard is HTML", status == 200 and headers["Content-Type"].startswith("text/html"))
    policy = headers["Content-Security-Policy"]
    check("it may load nothing from elsewhere and nothing inline",
          "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy)
    for part in ("App ID", "Instance ID", "Compose hash", "Device ID", "RTMR3", "system-ready",
                 "app-compose.json", "Up 5 minutes (healthy)", "dstack insecure-dev", "Memory"):
        check(f"it shows {part}", part in page)
    check("an event's text payload can be read", "{&#34;name&#34;:&#34;none&#34;" in page)
    check("the log link is the one that is known",
          "/logs/shop-web-1?text&amp;bare&amp;timestamps&amp;follow&amp;tail=20" in page)
    check("sec_16 no private key and no key share is on it", "PRIVATE KEY" not in page)


def quotes(port):
    lines = [line for line in ask(port, "/metrics")[2].splitlines()
             if line.startswith("dstack_guest_quotes_total")]
    return lines


def quote_per_hit(port):
    before = quotes(port)
    for _ in range(30):
        ask(port, "/")
        ask(port, "/page/live")
        ask(port, "/prpc/Worker.Info")
    after = quotes(port)
    check(f"pages and Info ask the hardware for no quote of their own {before} {after}",
          len(before) == 1 and after == before)


def engine_hits(port, requests):
    count = lambda: requests.read_text().count("/containers/json")
    before, begin = count(), time.monotonic()
    for _ in range(40):
        ask(port, "/page/live")
    seconds = time.monotonic() - begin
    check("the engine is asked once a second, however many look",
          count() - before <= seconds + 2)


def escaping(port):
    for path in ("/", "/page/live"):
        page = ask(port, path)[2]
        check(f"sec_hostile names and images are text on {path}",
              "<img src=x" not in page and "<script>document" not in page
              and "&#60;img src=x onerror=document.title=&#39;owned&#39;&#62;" in page
              and "\x07" not in page)
        check(f"sec_08 a name that the engine should not have gets no link on {path}",
              "href=\"/view/..".lower() not in page and "href=\"/logs/.." not in page
              and "href=\"/view/&#60;" not in page)


def switches(port):
    page = ask(port, "/")[2]
    check("without switches the dashboard has the identity", "App ID" in page)
    check("without public_tcbinfo it has no register, event or manifest",
          "RTMR3" not in page and "system-ready" not in page and "docker_compose_file" not in page)
    check("without public_sysinfo it has no resources", "Memory" not in page and "Load" not in page)
    check("without public_logs it has no log link", "/logs/" not in page and "/view/" not in page)
    check("containers and their state stay", "shop-web-1" in page and "Exited (0)" in page)
    live = ask(port, "/page/live")[2]
    check("the part that changes keeps to the switches", "Memory" not in live and "/logs/" not in live)
    for path in ("/metrics", "/logs/shop-web-1", "/view/shop-web-1"):
        check(f"{path} is not there", ask(port, path)[0] == 404)
    info = json.loads(ask(port, "/prpc/Worker.Info")[2])
    check("Info blanks what the manifest keeps", info["tcb_info"] == "" and info["vm_config"] == "")


# ---- requests that try for more ------------------------------------------------------------------

HOSTILE_TARGETS = [
    "/logs/app%2Fjson%3F", "/logs/..%2F..%2Fversion", "/logs/..%2Fversion%3F", "/logs/../version",
    "/logs/%2e%2e/version", "/logs/.hidden", "/logs/-x", "/logs/a%20b", "/logs/a%00b", "/logs/a%0d%0aX:y",
    "/logs/a%3Ffollow=true", "/logs/a%23b", "/logs/", "/logs", "/logs/a/b", "/logs/" + "a" * 129,
    "/logs/%C3%A9", "/logs/shop-web-1%2Flogs%3F", "/logs/a&b", "/logs/a;b", "/logs/%25",
    "/view/..%2Fx", "/view/%3Cscript%3E", "/view/", "/page/..%2Fpage.css", "/page/%2e%2e", "/page/",
    "/page/page.css/x", "/page/none.js", "//logs/a", "/metrics/x", "/live", "/logs/a%2Flogs",
]


def sec_08(port, requests):
    before = len(requests.read_text().splitlines())
    for target in HOSTILE_TARGETS:
        status = ask(port, target)[0]
        check(f"sec_08 {target[:40]} is refused ({status})", status in (400, 404))
    fresh = requests.read_text().splitlines()[before:]
    check(f"sec_08 none of them reached the engine {fresh}", not fresh)
    for method in ("POST", "PUT", "DELETE"):
        check(f"{method} on a page is refused", ask(port, "/logs/shop-web-1", method)[0] == 404
              and ask(port, "/", method)[0] == 404)
    for query, status in {"since=30x": 400, "until=x": 400, "tail=-1": 400, "tail=5%26x": 400,
                          "tail=all%20": 400, "follow=maybe": 422, "since=99999999999999": 400,
                          "text=2": 422, "tail=99999999999": 400}.items():
        check(f"?{query} is refused", ask(port, f"/logs/shop-web-1?{query}")[0] == status)
    fresh = requests.read_text().splitlines()[before:]
    check(f"nothing of that reached the engine {fresh}", not fresh)


# ---- logs ----------------------------------------------------------------------------------------

def open_stream(port, path, buffer=0):
    connection = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


def logs(port, requests):
    status, headers, text = ask(port, "/logs/shop-web-1?text")
    records = [json.loads(line) for line in text.splitlines()]
    check("a log is plain text, never HTML", headers["Content-Type"] == "text/plain; charset=utf-8"
          and headers["X-Content-Type-Options"] == "nosniff" and status == 200)
    check("each frame is a record with its channel",
          len(records) == 60 and {r["channel"] for r in records} == {"stdout", "stderr"})
    bare = ask(port, "/logs/shop-web-1?text&bare")[2]
    check("bare text has no escape sequences", "ready on port 80" in bare and "\x1b" not in bare)
    check("unless they are wanted", "\x1b[1;32mready" in ask(port, "/logs/shop-web-1?text&bare&ansi")[2])
    ask(port, "/logs/shop-web-1?text&timestamps&since=5&until=9&tail=20")
    line = requests.read_text().splitlines()[-1]
    check("the engine is asked for what the query says", line ==
          "GET /containers/shop-web-1/logs?follow=false&stdout=true&stderr=true&since=5&until=9"
          "&timestamps=true&tail=20 HTTP/1.0")
    terminal = ask(port, "/logs/terminal?text&bare")[2]
    check("a terminal's output has no frames; characters cut in two come whole",
          terminal == "prompt> café red\r\n\ufffd end \ufffd")
    check("its channel is the console", {json.loads(line)["channel"] for line in
          ask(port, "/logs/terminal?text")[2].splitlines()} == {"console"})
    for name, wanted in {"missing": "status code 404: No such container: missing", "broken": "no frames",
                         "huge": "larger than", "nothttp": "not HTTP"}.items():
        text = ask(port, f"/logs/{name}?text")[2]
        check(f"{name}: the error is said", wanted in json.loads(text.splitlines()[-1])["error"])
    check("what came before a break is shown", ask(port, "/logs/cut?text&bare")[2] == "whole\n")


def following(port, requests):
    connection = open_stream(port, "/logs/shop-web-1?text&bare&follow")
    seen = b""
    while b"tick 65" not in seen:
        part = connection.recv(65536)
        if not part:
            break
        seen += part
    check("a followed log comes as it grows", b"tick 65" in seen)
    connection.close()
    check("when its reader goes, the engine is left alone",
          wait_for(lambda: "closed shop-web-1" in requests.read_text()))


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])


def slow_readers(port, pid, requests):
    ask(port, "/logs/shop-web-1")
    check("no log is being read any more",
          wait_for(lambda: "\ndstack_guest_log_streams 0\n" in ask(port, "/metrics")[2]))
    before = resident_kib(pid) if pid else 0
    slow = [open_stream(port, "/logs/flood", 4096) for _ in range(8)]
    for connection in slow:
        connection.recv(10)
    check("beyond the limit of streams a reader is told to come later",
          wait_for(lambda: ask(port, "/logs/terminal")[0] == 503))
    time.sleep(1)  # long enough for an unbounded buffer to grow by a gigabyte
    grown = resident_kib(pid) - before if pid else 0  # sanitizers keep what was freed
    check(f"sec_15 readers that are slow cost bounded memory ({grown} KiB)", grown < 32768)
    begin = time.monotonic()
    check("and delay nobody", ask(port, "/")[0] == 200 and time.monotonic() - begin < 10)
    for connection in slow:
        connection.close()
    check("when they go, all is as before",
          wait_for(lambda: requests.read_text().count("closed flood") == 8)
          and wait_for(lambda: ask(port, "/logs/terminal")[0] == 200))


def no_engine(port):
    check("without an engine the dashboard says so",
          "engine does not answer" in ask(port, "/")[2])
    check("without an engine a log says so", json.loads(ask(port, "/logs/app?text")[2]) ==
          {"error": "Socket not found: /var/run/docker.sock"})
    check("without an engine metrics say so", "dstack_guest_engine_up 0" in ask(port, "/metrics")[2])


# ---- metrics -------------------------------------------------------------------------------------

OLD = """system_os_name system_os_version system_kernel_version system_cpu_model system_num_cpus
system_memory_total system_memory_available system_memory_used system_memory_free system_swap_total
system_swap_used system_swap_free system_uptime system_load_average_1m system_load_average_5m
system_load_average_15m disk_total_size disk_free_size disk_used_size disk_usage_percentage""".split()


def metrics(port):
    status, headers, text = ask(port, "/metrics")
    check("metrics are plain text", status == 200
          and headers["Content-Type"] == "text/plain; charset=utf-8")
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError:
        print("skipped: python3-prometheus-client is not here", flush=True)
        return
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name in OLD:
        check(f"the known series {name} is a gauge",
              families[name].type == "gauge" and families[name].samples)
    check("ours are counters where they count",
          families["dstack_guest_cpu_seconds"].type == "counter"
          and families["dstack_guest_quotes"].type == "counter")
    check("every series has help", all(family.documentation for family in families.values()))
    states = {s.labels["state"]: s.value for s in families["dstack_guest_containers"].samples}
    check("containers are counted by state", states["running"] == 5 and states["exited"] == 1)
    total = families["system_memory_total"].samples[0].value
    check("both families say the same",
          total == families["dstack_guest_memory_size_bytes"].samples[0].value > 0)
    for sample in families["dstack_guest_disk_used_ratio"].samples:
        check("a ratio is between 0 and 1", 0 <= sample.value <= 1)
    check("connections are counted", "dstack_http_requests" in families)


# ---- in a browser --------------------------------------------------------------------------------

def show(browser, url, width, dark, ready):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900 if width > 500 else 700,
                 deviceScaleFactor=2 if width < 500 else 1, mobile=width < 500)
    browser.call("Emulation.setEmulatedMedia", features=[
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
    browser.call("Page.navigate", url=url)
    browser.wait(f"document.readyState === 'complete' && {ready}")


def visible(browser, selector):
    return browser.js(f"document.querySelectorAll('{selector}:not([hidden])').length")


def type_into(browser, selector, text):
    browser.js(f"document.querySelector('{selector}').focus();"
               f"document.querySelector('{selector}').select()")
    if text:
        browser.call("Input.insertText", text=text)
    else:
        browser.js(f"document.querySelector('{selector}').value = '';"
                   f"document.querySelector('{selector}').dispatchEvent(new Event('input'))")


def browse_dashboard(browser, url, folder):
    show(browser, url, 1100, False, "!!document.querySelector('.containers li')")
    check("the dashboard fits the window", fits(browser))
    check("a broken container is seen at a glance",
          browser.js("document.querySelectorAll('.containers .bad').length") > 0
          and browser.js("document.querySelector('.state').classList.contains('bad')"))
    browser.shot(folder / "agent-dashboard-light.png")
    everything = visible(browser, "#events li")
    type_into(browser, "#find-event", "compose-hash")
    check("the event log can be searched", everything > 5 and visible(browser, "#events li") == 1)
    type_into(browser, "#find-event", "no such thing")
    check("a search in vain says so", visible(browser, "#events-none") == 1)
    type_into(browser, "#find-event", "")
    browser.wait("Number(document.getElementById('live').dataset.refreshed ?? 0) >= 1")
    check("it renews itself", browser.js("document.querySelectorAll('.containers li').length") == 6)
    show(browser, url, 375, True, "!!document.querySelector('.containers li')")
    check("the dashboard fits a phone", fits(browser))
    check("the dashboard is dark where that is wanted", browser.js(
        "getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 20)")
    browser.shot(folder / "agent-dashboard-phone.png")
    check("hostile names did nothing", browser.js("document.title") != "owned")


def browse_logs(browser, url, folder):
    tick = "[...document.querySelectorAll('.line')].some(l => l.textContent.includes('tick 6'))"
    end = "Math.abs(box.scrollHeight - box.scrollTop - box.clientHeight) < 24"
    show(browser, url + "view/shop-web-1", 1100, False, tick)
    check("the log is live", browser.js("document.getElementById('state').textContent") == "Live")
    check("it stays at its end", browser.js(end))
    check("the viewer fits the window", fits(browser))
    check("stderr is marked", visible(browser, ".line.stderr") == 9)
    check("colours are shown", browser.js(
        "[...document.querySelectorAll('.fg2.bold')].map(e => e.textContent).join()") == "ready")
    check("hostile lines are text", browser.js("document.title") == "shop-web-1 · dstack"
          and browser.js("document.querySelectorAll('main img, main script').length") == 0)
    type_into(browser, "#search", "ITEM/1")
    check("a search marks what it finds", browser.js("document.querySelectorAll('mark').length") >= 6)
    browser.key("Enter", 13)
    check("Enter goes to a match and stops following", browser.js(
        "document.getElementById('found').textContent").startswith("1 of ")
          and browser.js("document.querySelectorAll('mark.current').length") == 1
          and browser.js("document.getElementById('follow').getAttribute('aria-pressed')") == "false")
    browser.js("document.getElementById('only').click()")
    check("matches can be shown alone", 0 < visible(browser, ".line") < 15)
    browser.shot(folder / "agent-log-search.png")
    browser.js("document.getElementById('only').click()")
    type_into(browser, "#search", "")
    browser.js("byId('channel').value = 'stderr'; byId('channel').dispatchEvent(new Event('change'))")
    check("one channel can be shown alone", visible(browser, ".line") == 9)
    browser.js("byId('channel').value = ''; byId('channel').dispatchEvent(new Event('change'))")
    browser.js("document.getElementById('pause').click()")
    held = browser.js("document.querySelectorAll('.line').length")
    browser.wait("/Paused, [2-9]/.test(document.getElementById('state').textContent)")
    check("a pause holds what comes", browser.js("document.querySelectorAll('.line').length") == held)
    browser.js("document.getElementById('pause').click()")
    browser.wait(f"document.querySelectorAll('.line').length > {held}")
    check("and lets it go on", True)
    browser.js("document.getElementById('follow').click()")
    browser.wait(f"document.getElementById('follow').getAttribute('aria-pressed') === 'true' && {end}")
    browser.js("box.scrollTop = 0")
    browser.wait("document.getElementById('follow').getAttribute('aria-pressed') === 'false'")
    check("scrolling up stops following", True)
    browser.shot(folder / "agent-log-light.png")
    show(browser, url + "view/shop-web-1", 375, True, tick)
    check("the viewer fits a phone", fits(browser) and browser.js(
        "document.documentElement.scrollHeight <= window.innerHeight"))
    check("a phone's log has room", browser.js("box.clientHeight > window.innerHeight / 2"))
    check("a phone's log stays at its end", browser.js(end))
    browser.shot(folder / "agent-log-phone.png")
    show(browser, url + "view/missing", 375, False, "!!document.querySelector('.line.trouble')")
    check("a container that is not there is said once", visible(browser, ".line.trouble") == 1)
    show(browser, url + "view/terminal", 375, False, "!!document.querySelector('.line')")
    check("a terminal's output is shown", "café" in browser.js("box.textContent"))


def browse(port, folder):
    if not os.access(CHROMIUM, os.X_OK):
        print(f"skipped: {CHROMIUM} is not here", flush=True)
        return
    url = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(CHROMIUM, profile)
        try:
            browse_dashboard(browser, url, folder)
            browse_logs(browser, url, folder)
            foreign = [e["params"]["request"]["url"] for e in browser.events
                       if e.get("method") == "Network.requestWillBeSent"
                       and not e["params"]["request"]["url"].startswith((url, "about:"))]
            check(f"nothing is asked of others {foreign}", not foreign)
            errors = [e["params"] for e in browser.events
                      if e.get("method") == "Runtime.exceptionThrown"
                      or (e.get("method") == "Log.entryAdded"
                          and "Content Security Policy" in e["params"]["entry"]["text"])]
            check(f"nothing breaks the pages' own rules {errors}", not errors)
        finally:
            browser.process.kill()
            browser.process.wait()


# ---- a real engine -------------------------------------------------------------------------------

def records(port, query):
    return [json.loads(line) for line in ask(port, f"/logs/{query}")[2].splitlines()]


def real_logs(port, engine):
    full = engine.start("app-1", 600)
    engine.start("terminal", 600, tty=True)
    engine.start("ended", 2)
    check("real: a container's lines come by channel", wait_for(lambda: {
        (r["channel"], r["message"]) for r in records(port, "app-1?text") if " 3" in r["message"]} ==
        {("stdout", "out 3 café \x1b[32mgreen\x1b[0m\n"), ("stderr", "err 3\n")}))
    check("real: the tail is as long as was asked for", len(records(port, "app-1?text&tail=2")) == 2)
    check("real: timestamps stand before the lines", records(port, "app-1?text&tail=1&timestamps")
          [0]["message"].startswith(time.strftime("%Y-", time.gmtime())))
    check("real: nothing is newer than a day ahead", records(port, f"app-1?since={int(time.time()) + 86400}") == [])
    check("real: nothing is older than a day", records(port, f"app-1?until={int(time.time()) - 86400}") == [])
    check("real: its id serves as well", records(port, f"{full[:12]}?text&tail=1")[0]["channel"] != "")
    check("real: a terminal has no frames", wait_for(lambda: "out 3 café green\r\n" in
          ask(port, "/logs/terminal?text&bare")[2])
          and records(port, "terminal?text")[0]["channel"] == "console")
    check("real: an unknown container is named", records(port, "nobody?text") ==
          [{"error": "Docker responded with status code 404: No such container: nobody"}])
    connection = open_stream(port, "/logs/app-1?text&bare&follow&tail=1")
    seen, last = b"", int(records(port, "app-1?text&bare=no&tail=2")[0]["message"].split()[1])
    while f"out {last + 5} ".encode() not in seen and (part := connection.recv(65536)):
        seen += part
    check("real: a followed log grows", f"out {last + 5} ".encode() in seen)
    engine.call("POST", "/containers/app-1/kill")
    while not seen.endswith(b"0\r\n\r\n") and (part := connection.recv(65536)):
        seen += part
    check("real: it ends with its container", seen.endswith(b"0\r\n\r\n"))
    connection.close()


def real_pages(port):
    check("real: states are shown", wait_for(lambda: "Exited (3)" in ask(port, "/page/live")[2]
          and "Exited (137)" in ask(port, "/page/live")[2]))
    page = ask(port, "/")[2]
    check("real: what ended badly is in trouble", "2 containers are in trouble" in page
          and "1 of 3 containers running" in page and "print:1" in page)
    check("sec_08 real: a container's environment is out of reach",
          all("never-to-be-seen" not in ask(port, target)[2] for target in HOSTILE_TARGETS + [
              "/logs/app-1%2Fjson%3F", "/logs/app-1/json", "/logs/app-1%2Fjson", "/", "/metrics"]))
    text = ask(port, "/metrics")[2]
    check("real: metrics count them", 'dstack_guest_containers{state="running"} 1\n' in text
          and 'dstack_guest_containers{state="exited"} 2\n' in text)


def real(program, folder):
    root = docker_real.where()
    if root is None:
        print("skipped: no dockerd can run here (root, and an image's build root or Docker)", flush=True)
        sys.exit(77)
    with docker_real.engine(folder, root) as (engine, log):
        check(f"dockerd starts {log.read_text()[-300:] if engine is None else ''}", engine is not None)
        engine.load(folder)
        with agent(program, engine.path, ALL) as (port, pid):
            real_logs(port, engine)
            real_pages(port)


@contextlib.contextmanager
def recorded(folder):
    path, requests = folder / "engine.sock", folder / "requests"
    process = subprocess.Popen([sys.executable, HERE / "docker_recorded.py", path, requests],
                               stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        yield path, requests
    finally:
        process.kill()
        process.wait()


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        if sys.argv[2:] == ["--docker"]:
            real(program, folder)
            return
        pictures = pathlib.Path(os.environ.get("PICTURES", name))
        with recorded(folder) as (engine, requests):
            with agent(program, engine, ALL) as (port, pid):
                dashboard(port)
                quote_per_hit(port)
                engine_hits(port, requests)
                escaping(port)
                sec_08(port, requests)
                logs(port, requests)
                following(port, requests)
                metrics(port)
                browse(port, pictures)
                slow_readers(port, pid, requests)
            with agent(program, engine, NONE) as (port, pid):
                switches(port)
        with agent(program, folder / "nothing.sock", ALL) as (port, pid):
            no_engine(port)


if __name__ == "__main__":
    main()
