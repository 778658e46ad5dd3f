"""Bad command lines and bad files: one clear line, the right status, never a crash."""

import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from harness import CONFIG, PROGRAM, make_model, random_tensors, run, shard

LABORATORY = os.environ.get("TALPA_HAS_LABORATORY", "1") == "1"

# command line, exit status, part of the message
USAGE = [
    (["generat"], 2, "unknown command 'generat'; did you mean 'generate'?"),
    (["xyzzy"], 2, "unknown command 'xyzzy'"),
    (["--nonsense"], 2, "expected a command before --nonsense"),
    (["generate"], 2, "MODEL is required"),
    (["generate", "{good}", "--contex", "3"], 2, "generate does not take --contex"),
    (["generate", "{good}", "--top-kk", "3"], 2, "did you mean --top-k?"),
    (["generate", "{good}", "-p", "x", "-n", "many"], 2, "many"),
    (["generate", "{good}", "-p", "x", "-n", "0"], 2, "--max-tokens"),
    (["generate", "{good}", "-p", "x", "--dtype", "q9"], 2, "--dtype"),
    (["generate", "{good}", "-p", "x", "--threads", "-1"], 2, "--threads"),
    (["generate", "{good}", "-p", "x", "-q", "-v"], 2, "excludes"),
    (["generate", "{good}", "-p", "x", "--temp", "-1"], 1, "temperature"),
    (["generate", "{good}", "-p", "x", "--top-p", "2"], 1, "top_p"),
    (["generate", "{good}", "-p", ""], 2, "prompt is empty"),
    (["generate", "{good}", "-f", "{root}/none.txt"], 1, "none.txt"),
    (["serve"], 2, "MODEL is required"),
    (["serve", "{good}", "--port", "70000"], 2, "--port"),
    (["serve", "{good}", "--parallel", "0"], 1, "parallel"),
    (["serve", "{good}", "--chat-template", "{root}/none"], 2, "none"),
    (["serve", "{good}", "--host", "256.0.0.1"], 1, "cannot listen"),
    (["serve", "{root}/none"], 1, "does not exist"),
    (["eval"], 2, "subcommand"),
    (["eval", "ppl", "{good}"], 2, "--file is required"),
    (["eval", "ppl", "{good}", "-f", "{root}/none.txt"], 1, "none.txt"),
    (["eval", "ppl", "{good}", "-f", "{text}", "-c", "1"], 1, "context = 1"),
    (["eval", "ppl", "{good}", "-f", "{text}", "-c", "8", "--stride", "9"], 1, "stride = 9"),
    (["eval", "ppl", "{good}", "-f", "{text}", "--ids"], 1, ".u16 or .u32"),
    (["eval", "ppl", "{good}", "-f", "{root}/big.u16", "--ids"], 1, "id 65535 at byte 0"),
    (["eval", "ppl", "{good}", "-f", "{root}/empty.txt"], 1, "there is no text in it"),
    (["eval", "ppl", "{good}", "-f", "{root}/bad.jsonl"], 1, "bad.jsonl:2"),
    (["compare", "{good}", "--text", "{text}"], 2, "nothing to compare"),
    (["compare", "{good}", "{good}@q99", "--text", "{text}"], 2, "no type 'q99'"),
    (["compare", "{good}", "{good}@q6_k", "--text", "{text}"], 2, "cannot be held as 'q6_k'"),
    (["compare", "{good}", "{small_vocabulary}", "--text", "{text}"], 1, "260 tokens"),
    (["bench", "--prompt", "64"], 2, "--prompt: of which model? Expected MODEL or --config NAME"),
    (["bench", "--decode", "8", "--limits"], 2, "--decode: of which model?"),
    (["bench", "--dtype", "q8_0"], 2, "--dtype: of which model?"),
    (["bench", "--rounds", "3"], 2, "--rounds: of which model?"),
    (["bench", "--experts", "latent"], 2, "--experts: of which model?"),
    (["bench", "--layer"], 2, "--layer: of which model?"),
    (["bench", "--latent-dim", "64"], 2, "--latent-dim: of which model?"),
    (["bench", "{good}", "--latent-dim", "8"], 2, "--latent-dim changes a model's shape"),
    (["bench", "{good}", "--config", "olmoe-1b-7b"], 2, "excludes"),
    (["bench", "--config", "gpt-9"], 2, "no such published model"),
    (["bench", "--config", "olmoe-1b-7b", "--layers", "99"], 2, "olmoe-1b-7b has 16"),
    (["bench", "{good}", "--dtype", "q6_k"], 2, "--dtype"),
    (["generate", "{good}", "-p", "x", "--pin", "--threads", "1000"], 2, "cannot be pinned"),
    (["inspect"], 2, "expected a MODEL or --published NAME"),
    (["inspect", "{good}", "--published", "olmoe-1b-7b"], 2, "expected a MODEL or --published"),
    (["inspect", "--published", "gpt-9"], 2, "known are"),
    (["tokenize", "{root}/none"], 1, "none does not exist"),
    (["tokenize", "{good}", "1 2 x", "--decode"], 2, "'x' is not a token id"),
    (["tokenize", "{good}", "260", "--decode"], 2, "'260' is not a token id below 260"),
    (["tokenize", "{no_tokenizer}", "x"], 1, "no tokenizer.json"),
    (["completion", "tcsh"], 2, "tcsh"),
    (["tokenizer", "train", "{root}/none.txt", "-o", "{root}/t.json"], 1, "none.txt"),
    (["tokenizer", "train", "{text}", "-o", "{root}/t.json", "--vocab-size", "3"], 1, "vocab_size"),
]

# how to open a model in each command
COMMANDS = {
    "inspect": ["inspect", "{model}"],
    "generate": ["generate", "{model}", "-p", "x", "-n", "1"],
    "eval": ["eval", "ppl", "{model}", "-f", "{text}"],
    "compare": ["compare", "{good}", "{model}", "--text", "{text}"],
    "bench": ["bench", "{model}", "--rounds", "1"],
}
if LABORATORY:
    COMMANDS["convert"] = ["convert", "{model}", "{root}/converted", "--to", "mole", "--budget",
                           "0.9"]

# broken model -> part of the message that every command gives
MODELS = {
    "missing": "missing",
    "empty_folder": "config.json",
    "truncated": "model.safetensors",
    "short_header": "model.safetensors",
    "huge_header": "model.safetensors",
    "wrong_dtype": "lm_head.weight",
    "wrong_shape": "lm_head.weight",
    "missing_tensor": "lm_head.weight",
    "extra_tensor": "surprise",
    "missing_shard": "model-00002-of-00002.safetensors",
    "wrong_architecture": "gpt2",
    "unknown_option": "rope_scaling",
    "contradiction": "moe.top_k = 9 exceeds moe.num_experts = 4",
    "not_json": "config.json",
    "not_gguf": "not_gguf",
    "truncated_gguf": "truncated_gguf",
}


def broken_models(root):
    """Writes every model of MODELS but `missing` under root."""
    good = root / "good" / "model.safetensors"
    (root / "empty_folder").mkdir()
    data = good.read_bytes()
    for name, content in (("truncated", data[:len(data) // 2]), ("short_header", data[:100]),
                          ("huge_header", struct.pack("<Q", 1 << 60) + data[8:])):
        (make_model(root / name) / "model.safetensors").write_bytes(content)
    tensors = random_tensors(CONFIG)
    head = tensors["lm_head.weight"]
    changes = {"wrong_dtype": {"lm_head.weight": ("I32", head[1], head[2])},
               "wrong_shape": {"lm_head.weight": ("F32", [32, 260], head[2])},
               "extra_tensor": {"surprise.weight": ("F32", [1], b"\0\0\0\0")}}
    for name, change in changes.items():
        make_model(root / name, tensors={**tensors, **change})
    make_model(root / "missing_tensor",
               tensors={k: v for k, v in tensors.items() if k != "lm_head.weight"})
    shard(make_model(root / "missing_shard"))
    (root / "missing_shard" / MODELS["missing_shard"]).unlink()
    make_model(root / "wrong_architecture",
               config={"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"})
    make_model(root / "unknown_option",
               config={"rope_scaling": {"rope_type": "yarn", "factor": 4.0}})
    make_model(root / "contradiction", config={"num_experts_per_tok": 9})
    (make_model(root / "not_json") / "config.json").write_text("{\"model_type\": ")
    (root / "not_gguf").write_bytes(b"GGML" + bytes(100))
    (root / "truncated_gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 5, 5))


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        root = cls.root = Path(cls.folder.name)
        make_model(root / "good")
        make_model(root / "no_tokenizer", tokenizer=False)
        make_model(root / "small_vocabulary", config={"vocab_size": 200})
        (root / "text.txt").write_text("some text to read " * 10)
        (root / "empty.txt").write_text("")
        (root / "bad.jsonl").write_text('{"text": "x"}\n{"txt": 1}\n')
        (root / "big.u16").write_bytes(b"\xff\xff\0\0")
        broken_models(root)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def places(self, **more):
        names = {name: self.root / name for name in ("good", "no_tokenizer", "small_vocabulary")}
        return {"root": self.root, "text": self.root / "text.txt", **names, **more}

    def check(self, line, status, part, places):
        arguments = [argument.format(**places) for argument in line]
        result = run(*arguments, text="")
        shown = f"talpa {' '.join(line)}\n{result.stderr}"
        self.assertEqual(result.returncode, status, shown)
        self.assertEqual(result.stdout, "", shown)
        errors = [text for text in result.stderr.splitlines() if "error" in text]
        self.assertEqual(len(errors), 1, shown)
        self.assertTrue(errors[0].startswith("talpa: error: "), shown)
        self.assertIn(part, errors[0], shown)

    def test_command_lines(self):
        for line, status, part in USAGE:
            with self.subTest(line=line):
                self.check(line, status, part, self.places())

    def test_broken_models(self):
        for model, part in MODELS.items():
            for command, line in COMMANDS.items():
                with self.subTest(model=model, command=command):
                    self.check(line, 1, part, self.places(model=self.root / model))

    def test_bit_flips_of_a_header_never_crash(self):
        folder = make_model(self.root / "flipped")
        file = folder / "model.safetensors"
        good = file.read_bytes()
        length = 8 + struct.unpack("<Q", good[:8])[0]
        generator = random.Random(1)
        noticed = 0
        for _ in range(60):
            data = bytearray(good)
            data[generator.randrange(length)] ^= 1 << generator.randrange(8)
            file.write_bytes(data)
            result = run("inspect", folder)
            self.assertIn(result.returncode, (0, 1), result.stderr)
            if result.returncode == 1:
                noticed += 1
                self.assertRegex(result.stderr, r"^talpa: error: .*\n$")
        self.assertGreater(noticed, 50)

    def test_a_full_disk_is_an_error(self):
        if not Path("/dev/full").exists():
            self.skipTest("no /dev/full")
        with open("/dev/full", "w") as full:
            result = subprocess.run([PROGRAM, "inspect", self.root / "good"], stdout=full,
                                    stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("cannot write to standard output", result.stderr)


def print_table():
    """What every command says of every broken model, as Markdown (docs/errors.md)."""
    print("# What bad input gets\n\nMade by `tests/cli/errors_test.py --table`. Every line ends a "
          "command with status 1 and nothing on standard output.\n")
    Errors.setUpClass()
    for model in MODELS:
        print(f"## {model.replace('_', ' ')}\n")
        said = {}
        for command, line in COMMANDS.items():
            places = Errors("test_command_lines").places(model=Errors.root / model)
            message = run(*(argument.format(**places) for argument in line)).stderr.strip()
            message = message.splitlines()[-1].replace(f"{Errors.root}/", "")
            said.setdefault(message, []).append(command)
        for message, commands in said.items():
            print(f"{', '.join(commands)}:\n\n```text\n{message}\n```\n")
    Errors.tearDownClass()


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        print_table()
    else:
        unittest.main()
