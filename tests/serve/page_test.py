"""The page at "/" in headless Chromium: a message is sent, the answer streams, the experts' load is
shown. With a path as argument the picture is kept there. Exits 77 without Chromium."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from running_server import TEMPLATE, RunningServer


class Browser:
    """Chromium's DevTools protocol over its pipe."""

    def __init__(self, chromium, folder):
        to_browser, self.output = os.pipe()
        self.input, from_browser = os.pipe()

        def place_pipes():  # Chromium reads from 3 and writes to 4
            reading, writing = os.dup(to_browser), os.dup(from_browser)
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        self.process = subprocess.Popen(
            [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             "--window-size=1000,760", f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False,
            preexec_fn=place_pipes)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.output, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                self.buffer += os.read(self.input, 1 << 20)
            text, self.buffer = self.buffer.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]

    def value(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def wait(self, script, seconds=30):
        end = time.monotonic() + seconds
        while not self.value(script):
            if time.monotonic() > end:
                raise AssertionError(f"never true: {script}; {self.value('document.body.innerText')}")
            time.sleep(0.05)

    def picture(self, path):
        data = self.call("Page.captureScreenshot")["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=20)


def send(browser, text):
    browser.value(f"document.getElementById('text').value = {json.dumps(text)};"
                  "document.getElementById('form').requestSubmit()")


def check(browser, url, picture):
    browser.call("Page.enable")
    browser.call("Page.navigate", url=url)
    browser.wait("document.getElementById('model')?.textContent === 'reference-moe'")
    browser.value("document.getElementById('max').value = 90")
    send(browser, "Tell me of the <b>river</b> & the sea.")
    browser.wait("/tokens, [0-9.]+\\/s/.test(document.getElementById('state').textContent)")
    browser.wait("document.getElementById('send').textContent === 'Send'")
    assert browser.value("document.querySelector('.user').textContent") == \
        "Tell me of the <b>river</b> & the sea."
    assert len(browser.value("document.querySelector('.assistant').textContent")) > 40
    browser.wait("document.querySelectorAll('.layer').length === 5")
    browser.wait("document.querySelectorAll('.cell').length === 80")
    send(browser, "And then?")
    browser.wait("document.querySelectorAll('.assistant').length === 2 && !stop")
    assert browser.value("messages.length") == 4
    if picture:
        browser.picture(picture)
    browser.value("document.getElementById('max').value = -3")
    send(browser, "Wrong.")
    browser.wait("document.querySelector('.error')?.textContent.startsWith('max_tokens')")


def main():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        print("no chromium: skipped")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "chat.jinja"
        template.write_text(TEMPLATE)
        with RunningServer("--chat-template", template) as server:
            browser = Browser(chromium, f"{folder}/profile")
            try:
                check(browser, server.url, sys.argv[1] if len(sys.argv) > 1 else None)
            finally:
                browser.close()
    print("the page works")


if __name__ == "__main__":
    main()
