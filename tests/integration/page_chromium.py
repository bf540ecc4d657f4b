#!/usr/bin/env python3
"""Drives the verifier's page in headless Chromium (DevTools protocol over a pipe).

usage: page_chromium.py CHROMIUM URL FOLDER
FOLDER holds attestation.hex, touched.hex, certificate.pem, quote.bin and address.txt; screenshots go
there too. Prints one line per check; exit 1 at the first that fails.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

DEADLINE = 60


class Browser:
    def __init__(self, program, profile):
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        self.out, self.input, self.next, self.events = to_write, from_read, 0, []

        def ends():  # the browser reads 3 and writes 4
            first, second = os.dup(to_read), os.dup(from_write)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-dev-shm-usage",
             "--disable-background-networking", "--disable-component-update", "about:blank"],
            close_fds=False, preexec_fn=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.buffer = b""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        self.session = None
        self.session = self.call(
            "Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")

    def message(self):
        while b"\0" not in self.buffer:
            part = os.read(self.input, 1 << 20)
            if not part:
                raise SystemExit("the browser ended")
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.next += 1
        request = {"id": self.next, "method": method, "params": params}
        if getattr(self, "session", None):
            request["sessionId"] = self.session
        os.write(self.out, json.dumps(request).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.next:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def js(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in result:
            raise SystemExit(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression):
        end = time.time() + DEADLINE
        while time.time() < end:
            if self.js(expression):
                return
            time.sleep(0.05)
        raise SystemExit(f"never true: {expression}\n{self.js('document.body.innerText')}")

    def key(self, key, code, modifiers=0):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=modifiers,
                      windowsVirtualKeyCode=code, text="\r" if key == "Enter" else "")

    def shot(self, path):
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        pathlib.Path(path).write_bytes(base64.b64decode(picture["data"]))


def check(name, holds):
    print(("ok " if holds else "not ok ") + name, flush=True)
    if not holds:
        raise SystemExit(1)


def open_page(browser, url, width, dark):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                 deviceScaleFactor=2 if width < 500 else 1, mobile=width < 500)
    browser.call("Emulation.setEmulatedMedia", features=[
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
    browser.call("Page.navigate", url=url)
    browser.wait("document.readyState === 'complete' && !!document.getElementById('go')")


def paste(browser, text):
    """As a person does it: by keyboard alone."""
    browser.js("document.getElementById('input').focus(); document.getElementById('input').select()")
    browser.call("Input.insertText", text=text)
    browser.key("Enter", 13, modifiers=2)
    browser.wait("!document.getElementById('go').disabled")


def fits(browser):
    return browser.js("document.documentElement.scrollWidth <= window.innerWidth")


def step(browser, title):
    return browser.js(
        "[...document.querySelectorAll('.step > summary')].find(s => s.querySelector('.title')"
        f".textContent === {json.dumps(title)})?.className ?? ''")


def run(browser, url, folder):
    read = lambda name: (folder / name).read_text()
    open_page(browser, url, 1100, False)
    paste(browser, "nonsense")
    check("nonsense is answered in words",
          "neither a quote" in browser.js("document.getElementById('status').textContent"))

    paste(browser, read("attestation.hex"))
    check("an attestation is verified",
          browser.js("document.getElementById('result').dataset.verdict") == "verified")
    for title in ("Hardware root of trust", "Platform certificate", "Collateral and TCB level",
                  "Quote signature", "Event log", "Application", "Report data"):
        check(f"its tree has: {title}", step(browser, title) == "ok")
    check("an image that nobody vouches for has a remark",
          step(browser, "Operating system image") == "warn")
    check("anchors are shown", browser.js(
        "[...document.querySelectorAll('.tree .chip')].map(c => c.textContent).sort()"
        ".filter((c, i, all) => all.indexOf(c) === i).join()") == "measured,policy,self-asserted")
    check("the development mode is shown",
          "can be forged" in browser.js("document.querySelector('.note').textContent"))
    check("steps stand under what they rest on", browser.js(
        "[...document.querySelectorAll('.title')].find(t => t.textContent === 'Application')"
        ".closest('ul').parentElement.querySelector('.title').textContent") == "Event log")
    browser.js("document.querySelector('.step > summary').focus()")
    browser.key("Enter", 13)
    check("a step opens by keyboard", browser.js("document.querySelector('.step').open"))
    check("its inputs are there", browser.js(
        "document.querySelector('.step .facts .value').textContent.length > 0"))
    check("it fits the window", fits(browser))
    browser.shot(folder / "wide-light.png")

    paste(browser, read("touched.hex"))
    check("touched evidence is refused",
          browser.js("document.getElementById('result').dataset.verdict") == "refused")
    check("the failed step is open", browser.js("!!document.querySelector('.step.bad[open]')"))
    browser.shot(folder / "refused-light.png")

    paste(browser, read("certificate.pem"))
    check("a certificate is verified",
          "certificate is verified" in browser.js("document.getElementById('verdict').textContent"))

    node = browser.call("DOM.getDocument")["root"]["nodeId"]
    chooser = browser.call("DOM.querySelector", nodeId=node, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=chooser, files=[str(folder / "quote.bin")])
    browser.wait("document.getElementById('verdict')?.textContent === 'The quote is genuine'")
    check("a quote from a file is genuine", True)

    open_page(browser, url, 390, True)
    paste(browser, read("attestation.hex"))
    check("it fits a phone", fits(browser))
    check("it is dark where that is wanted", browser.js(
        "getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 20)")
    browser.shot(folder / "phone-dark.png")

    browser.js("document.getElementById('input').focus()")
    browser.js("document.getElementById('input').select()")
    browser.call("Input.insertText", text=read("address.txt"))
    browser.key("Enter", 13)
    browser.wait("!document.getElementById('go').disabled"
                 " && [...document.querySelectorAll('.group')].length > 0")
    check("an address is looked at", step(browser, "This connection") != "")
    check("its app's hardware holds, with a remark: it is simulated",
          step(browser, "Hardware root of trust") == "warn")
    check("the address is verified",
          browser.js("document.getElementById('result').dataset.verdict") == "verified")
    browser.shot(folder / "address-dark.png")

    foreign = [e["params"]["request"]["url"] for e in browser.events
               if e.get("method") == "Network.requestWillBeSent"
               and not e["params"]["request"]["url"].startswith((url, "about:"))]
    check(f"nothing is asked of others {foreign}", not foreign)
    errors = [e["params"] for e in browser.events
              if e.get("method") in ("Runtime.exceptionThrown",)
              or (e.get("method") == "Log.entryAdded"
                  and "Content Security Policy" in e["params"]["entry"]["text"])]
    check(f"nothing breaks the page's own rules {errors}", not errors)


def main():
    program, url, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            run(browser, url, folder)
        finally:
            browser.process.kill()
            browser.process.wait()


if __name__ == "__main__":
    main()
