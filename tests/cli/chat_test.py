"""talpa chat in a pipe and on a terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from harness import PROGRAM, make_model, run

TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}<|im_end|>"
            "{% endfor %}<|im_start|>")


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        root = Path(cls.folder.name)
        cls.model = root / "model"
        make_model(cls.model)
        cls.template = root / "template.jinja"
        cls.template.write_text(TEMPLATE)
        cls.file = root / "said.json"

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.file.unlink(missing_ok=True)

    def chat(self, text, *options):
        return run("chat", self.model, "--chat-template", self.template, "-q", *options, text=text)

    def said(self):
        return json.loads(self.file.read_text())

    def test_a_line_is_a_message_and_a_block_is_one(self):
        done = self.chat(f'one\\\ntwo\n\n"""\n/not a command\nlast"""\n//slash\n/save {self.file}\n',
                         "-n", "3", "--system", "short")
        self.assertEqual(done.returncode, 0, done.stderr)
        said = self.said()
        self.assertEqual([m["role"] for m in said], ["system", *["user", "assistant"] * 3])
        self.assertEqual([m["content"] for m in said if m["role"] == "user"],
                         ["one\ntwo", "/not a command\nlast", "/slash"])
        answers = [m["content"] for m in said if m["role"] == "assistant"]
        self.assertEqual(done.stdout, "".join(answer + "\n" for answer in answers))

    def test_what_is_kept_of_a_conversation_changes_no_answer(self):
        options = ("-n", "6", "--temp", "1", "--seed", "4")
        whole = self.chat(f"first\n/save {self.file}\nsecond\n", *options)
        answers = self.said()
        resumed = self.chat(f"/load {self.file}\nsecond\n", *options)
        first = answers[1]["content"] + "\n"
        self.assertTrue(whole.stdout.startswith(first))
        self.assertEqual(whole.stdout[len(first):], resumed.stdout)
        forgotten = self.chat("first\n/reset\nfirst\n", *options)
        self.assertEqual(forgotten.stdout, first * 2)

    def test_a_full_context_is_said(self):
        done = self.chat("x" * 200 + "\n", "--ctx-size", "100")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"conversation takes \d+ of 100 tokens: /reset")
        cut = run("chat", self.model, "--chat-template", self.template, "--ctx-size", "60",
                  text="hello\n")
        self.assertEqual(cut.returncode, 0)
        self.assertIn("the context is full", cut.stderr)

    def test_a_block_without_an_end_is_an_error(self):
        done = self.chat('"""\nhello\n')
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("nothing ends", done.stderr)

    def test_bytes_that_are_no_text_do_not_lose_a_conversation(self):
        command = [PROGRAM, "chat", self.model, "--chat-template", self.template, "-q", "-n", "2"]
        done = subprocess.run(command, input=f"a\xff b\n/save {self.file}\n".encode("latin-1"),
                              capture_output=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.said()[0]["content"], "a\ufffd b")

    def test_control_c_in_a_pipe_that_waits_ends_with_130(self):
        process = subprocess.Popen(
            [PROGRAM, "chat", self.model, "--chat-template", self.template, "-q", "-n", "2"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        process.stdout.read(1)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)

    def test_bad_commands_and_files_are_named(self):
        for line, expected in (("/nope", "no command /nope"), ("/save", "/save needs a file"),
                               ("/load /none.json", "/none.json")):
            done = self.chat(line + "\n")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(expected, done.stderr)
        for content, expected in (("{", "not a JSON array"), ('[{"role": 3}]', "message 0")):
            self.file.write_text(content)
            done = self.chat(f"/load {self.file}\n")
            self.assertEqual(done.returncode, 1)
            self.assertIn(expected, done.stderr)

    def test_control_c_stops_the_answer_and_not_the_program(self):
        terminal, child = pty.openpty()
        process = subprocess.Popen(
            [PROGRAM, "chat", self.model, "--chat-template", self.template, "-q", "--ctx-size",
             "1000000"], stdin=child, stdout=child, stderr=child, start_new_session=True)
        os.close(child)

        def read_until(text, seconds=60):
            seen, end = b"", time.monotonic() + seconds
            while text not in seen:
                self.assertLess(time.monotonic(), end, seen[-300:])
                if select.select([terminal], [], [], 1)[0]:
                    seen += os.read(terminal, 65536)
            return seen

        read_until(b"> ")
        os.write(terminal, b"go on\n")
        if read_until(b"go on\r\n").endswith(b"go on\r\n"):  # nothing of the answer yet
            self.assertTrue(select.select([terminal], [], [], 60)[0])
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        read_until(b"\r\n> ")
        os.write(terminal, b"/nope\n")
        read_until(b"no command /nope")
        os.write(terminal, f"/save {self.file}\n".encode())
        read_until(b"> ")
        os.write(terminal, b"/exit\n")
        self.assertEqual(process.wait(timeout=60), 0)
        os.close(terminal)
        self.assertEqual(len(self.said()), 2)


if __name__ == "__main__":
    unittest.main()
