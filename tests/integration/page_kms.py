#!/usr/bin/env python3
"""Looks at the KMS's page in headless Chromium.

usage: page_kms.py CHROMIUM URL TOKEN APP_ID FOLDER
Screenshots go to FOLDER. Prints one line per check; exit 1 at the first that fails.
"""

import json
import pathlib
import sys
import tempfile

from page_chromium import Browser, check, fits


def open_page(browser, url, width, dark):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                 deviceScaleFactor=2 if width < 500 else 1, mobile=width < 500)
    browser.call("Emulation.setEmulatedMedia", features=[
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
    browser.call("Page.navigate", url=url)
    browser.wait("document.readyState === 'complete' && document.querySelectorAll('#records li').length > 0")


def text(browser, selector):
    return browser.js(f"document.querySelector({json.dumps(selector)}).innerText")


def count(browser, selector):
    return browser.js(f"document.querySelectorAll({json.dumps(selector)}).length")


def run(browser, url, token, app, folder):
    browser.call("Page.navigate", url=url)
    browser.wait("document.readyState === 'complete'")
    check("without the token there is nothing", "Releases" not in browser.js(
        "document.body ? document.body.innerText : ''"))
    browser.call("Network.setExtraHTTPHeaders", headers={"Authorization": "Bearer " + token})
    open_page(browser, url, 1100, False)
    check("it says that keys are released", "Releases keys" in text(browser, "#verdict"))
    check("it says that this is for development", "Development mode" in text(browser, "#note"))
    check("a release is there", "App keys released" in text(browser, "#records"))
    check("a refusal is there with its reason",
          "Boot denied: compose hash not allowed" in text(browser, "#records"))
    everything = count(browser, "#records li")
    browser.js("document.querySelector('[data-show=refused]').focus()")
    browser.key("Enter", 13)
    refused = count(browser, "#records li")
    check("refusals can be shown alone, by keyboard",
          0 < refused < everything and count(browser, "#records li.ok") == 0)
    browser.js("document.querySelector('[data-show=all]').click()")
    check("the instance that got keys is there", browser.js(
        f"!!document.querySelector('#instances [title={json.dumps(app)}]')"))
    check("the policy in force is there", "allow-list file" in text(browser, "#policy")
          and app in text(browser, "#apps"))
    check("the log is there", count(browser, "#log dd") == 3)
    check("it fits the window", fits(browser))
    browser.shot(folder / "kms-light.png")
    open_page(browser, url, 390, True)
    check("it fits a phone", fits(browser))
    check("it is dark where that is wanted", browser.js(
        "getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 20)")
    browser.shot(folder / "kms-dark.png")
    foreign = [e["params"]["request"]["url"] for e in browser.events
               if e.get("method") == "Network.requestWillBeSent"
               and not e["params"]["request"]["url"].startswith((url, "about:"))]
    check(f"nothing is asked of others {foreign}", not foreign)
    errors = [e["params"] for e in browser.events
              if e.get("method") == "Runtime.exceptionThrown"
              or (e.get("method") == "Log.entryAdded"
                  and "Content Security Policy" in e["params"]["entry"]["text"])]
    check(f"nothing breaks the page's own rules {errors}", not errors)


def main():
    program, url, token, app, folder = sys.argv[1:6]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            run(browser, url, token, app, pathlib.Path(folder))
        finally:
            browser.process.kill()
            browser.process.wait()


if __name__ == "__main__":
    main()
