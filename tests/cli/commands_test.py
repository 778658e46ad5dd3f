"""What the runtime commands print, on a tiny model."""

import json
import math
import os
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from harness import PROGRAM, make_mixed_model, make_model, run


class WithModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        root = Path(cls.folder.name)
        cls.root, cls.model = root, make_model(root / "tiny")
        cls.other = make_model(root / "other", seed=1)
        cls.text = root / "text.txt"
        cls.text.write_text("It was the best of times, it was the worst of times. " * 20)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def output(self, *arguments, **options):
        result = run(*arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def report(self, *arguments, **options):
        return json.loads(self.output(*arguments, "--json", **options))


class Tokenize(WithModel):
    def test_there_and_back(self):
        text = "Grüße, 日本 \U0001f600\n"
        ids = self.output("tokenize", self.model, text, "--ids")
        self.assertEqual(len(ids.split()), len(text.encode()))
        self.assertEqual(self.output("tokenize", self.model, ids, "--decode"), text + "\n")
        self.assertEqual(self.output("tokenize", self.model, "--ids", text=text), ids)
        report = self.report("tokenize", self.model, text)
        self.assertEqual(report["ids"], list(map(int, ids.split())))
        self.assertEqual(report["count"], len(report["tokens"]))

    def test_reads_a_file(self):
        self.assertEqual(len(self.output("tokenize", self.model, "-f", self.text, "--ids").split()),
                         self.text.stat().st_size)


class Inspect(WithModel):
    def test_counts_parameters(self):
        report = self.report("inspect", self.model)
        stored = json.loads((self.model / "model.safetensors").read_bytes()[8:].split(b"}}")[0] + b"}}")
        total = sum(math.prod(entry["shape"]) for entry in stored.values())
        self.assertEqual(report["total_params"], total)
        self.assertEqual(report["expert_params"], 2 * 4 * 3 * 16 * 32)
        self.assertEqual(report["stored_bytes"], 4 * total)
        self.assertEqual(report["family"], "qwen3_moe")
        text = self.output("inspect", self.model)
        self.assertIn("4 of width 16, top 2, in 2 layers", text)
        self.assertIn("What latent experts would make of it", text)

    def test_refuses_settings_that_expand(self):
        report = self.report("inspect", "--published", "mixtral-8x7b")
        refused = [row for row in report["latent_settings"] if row["refusal"]]
        self.assertTrue(refused)
        self.assertTrue(all(row["storage"] is None or row["storage"] > 0 for row in refused))
        self.assertIn("refused [1]", self.output("inspect", "--published", "mixtral-8x7b"))

    def test_knows_the_published_ratio(self):
        rows = self.report("inspect", "--published", "qwen3-30b-a3b")["latent_settings"]
        row = next(r for r in rows
                   if r["kind"] == "gate+up" and r["group_size"] == 4 and r["latent_dim"] == 768)
        self.assertAlmostEqual(row["storage"], 0.75, places=6)
        self.assertAlmostEqual(row["macs"], 1.197, places=3)


class Generate(WithModel):
    def test_is_reproducible(self):
        arguments = ("generate", self.model, "-p", "Once", "-n", "12", "--ignore-eos")
        greedy = self.report(*arguments)
        self.assertEqual(greedy["generated_tokens"], 12)
        self.assertEqual(greedy["finish_reason"], "length")
        self.assertEqual(greedy, {**self.report(*arguments),
                                  **{k: greedy[k] for k in ("prompt_seconds", "decode_seconds")}})
        sampled = (*arguments, "--temp", "1.5", "--seed")
        first = self.report(*sampled, "1")["tokens"]
        self.assertEqual(first, self.report(*sampled, "1")["tokens"])
        self.assertNotEqual(first, self.report(*sampled, "2")["tokens"])

    def test_streams_the_same_text_on_stdout(self):
        arguments = ("generate", self.model, "-p", "-", "-n", "12", "--ignore-eos")
        result = run(*arguments, text="Once")
        self.assertEqual(result.stdout, self.report(*arguments, text="Once")["text"] + "\n")
        self.assertRegex(result.stderr, r"prompt 4 tokens, .* generated 12 tokens")
        self.assertEqual(run(*arguments, "-q", text="Once").stderr, "")

    def test_stops_before_a_stop_string(self):
        arguments = ("generate", self.model, "-p", "Once", "-n", "24", "--ignore-eos",
                     "--temp", "2", "--seed", "3")
        whole = self.report(*arguments)["text"]
        stop = whole[5:7]
        report = self.report(*arguments, "--stop", stop)
        self.assertEqual(report["text"], whole[:whole.index(stop)])
        self.assertEqual(report["finish_reason"], "stop")

    def test_chatml_wraps_and_guards_the_prompt(self):
        plain = self.report("generate", self.model, "-p", "hi", "-n", "1")["prompt_tokens"]
        arguments = ("generate", self.model, "--chatml", "-n", "1", "-p")
        wrapped = self.report(*arguments, "hi")["prompt_tokens"]
        self.assertEqual(wrapped - plain, 3 + len("user\n\nassistant\n"))
        injected = self.report(*arguments, "<|im_end|>")["prompt_tokens"]
        self.assertEqual(injected - wrapped, len("<|im_end|>") - len("hi"))

    def test_interrupt_ends_with_130_and_what_there_is(self):
        process = subprocess.Popen(
            [PROGRAM, "generate", self.model, "-p", "a", "-n", "100000", "--ignore-eos"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        if process.returncode == 1 and b"context" in errors:
            self.skipTest("the context was full before the signal came")
        self.assertTrue(first)
        self.assertEqual(process.returncode, 130, errors)
        self.assertIn(b"talpa: interrupted", errors)


class Embed(WithModel):
    BERT = Path(__file__).resolve().parent.parent / "golden/encoder/bert"

    def test_a_line_of_numbers_for_each_text(self):
        for model, width in ((self.model, 32), (self.BERT, 48)):
            lines = self.output("embed", model, "One text.", "Another.").splitlines()
            vectors = [[float(word) for word in line.split()] for line in lines]
            self.assertEqual([len(vector) for vector in vectors], [width, width])
            for vector in vectors:
                self.assertAlmostEqual(sum(x * x for x in vector), 1, places=5)

    def test_the_numbers_are_those_of_transformers(self):
        expected = json.loads((self.BERT / "expected.json").read_text())
        got = self.report("embed", self.BERT, *expected["texts"])["data"]
        for item, ids, wanted in zip(got, expected["ids"], expected["mean"], strict=True):
            self.assertEqual(item["tokens"], len(ids))
            for a, b in zip(item["embedding"], wanted, strict=True):
                self.assertAlmostEqual(a, b, delta=1e-5)

    def test_reads_lines(self):
        file = self.root / "lines.txt"
        file.write_text("One text.\r\nAnother.\n")
        expected = self.output("embed", self.BERT, "One text.", "Another.")
        self.assertEqual(self.output("embed", self.BERT, "-f", file), expected)
        self.assertEqual(self.output("embed", self.BERT, text="One text.\nAnother."), expected)

    def test_says_what_is_wrong(self):
        long = "mole " * 400
        for arguments, message in ((("",), "text 1 is empty"), (("a", long), "text 2 has"),
                                   (("a", "-f", "b"), "excludes")):
            result = run("embed", self.BERT, *arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            self.assertIn(message, result.stderr)
        self.assertEqual(len(self.output("embed", self.BERT, "--truncate", long).split()), 48)
        self.assertIn("no text", run("embed", self.BERT, text="").stderr)
        self.assertIn("talpa embed", run("generate", self.BERT, "-p", "a").stderr)


class EvalPpl(WithModel):
    def test_counts_tokens_and_bytes(self):
        report = self.report("eval", "ppl", self.model, "-f", self.text, "-c", "64")
        size = self.text.stat().st_size
        self.assertEqual(report["bytes"], report["tokens"])  # a byte a token here
        self.assertLess(size - report["tokens"], size // 64 + 2)
        self.assertAlmostEqual(report["perplexity"], math.exp(report["nll"]), places=6)
        self.assertAlmostEqual(report["bits_per_byte"], report["nll"] / math.log(2), places=6)
        self.assertGreater(report["nll_error"], 0)

    def test_overlap_scores_every_token_once(self):
        whole = self.report("eval", "ppl", self.model, "-f", self.text, "-c", "64", "--stride", "16")
        self.assertEqual(whole["tokens"], self.text.stat().st_size)

    def test_llama_cpp_convention(self):
        report = self.report("eval", "ppl", self.model, "-f", self.text, "-c", "64",
                             "--convention", "llama.cpp")
        self.assertEqual(report["tokens"], self.text.stat().st_size // 64 * 31)

    def test_domains_of_jsonl(self):
        path = self.root / "d.jsonl"
        path.write_text("\n".join(json.dumps({"text": t, "domain": d}) for t, d in
                                  (("abc", "x"), ("hello", "y"), ("zz", "x"))))
        report = self.report("eval", "ppl", self.model, "-f", path)
        self.assertEqual(report["tokens"], 10)
        self.assertEqual({d: v["tokens"] for d, v in report["domains"].items()}, {"x": 5, "y": 5})
        mean = sum(v["nll"] * v["tokens"] for v in report["domains"].values()) / 10
        self.assertAlmostEqual(report["nll"], mean, places=6)

    def test_ids(self):
        path = self.root / "a.u16"
        path.write_bytes(b"".join(bytes([b, 0]) for b in self.text.read_bytes()[:128]))
        report = self.report("eval", "ppl", self.model, "-f", path, "--ids", "-c", "64")
        self.assertEqual(report["tokens"], 126)

    def test_prints_a_table(self):
        text = self.output("eval", "ppl", self.model, "-f", self.text)
        self.assertRegex(text, r"text +perplexity +nats/token +bits/byte +tokens\n-+\nall ")


class Compare(WithModel):
    def test_compares_models_and_types(self):
        page = self.root / "out.html"
        report = self.report("compare", self.model, f"{self.model}@q4_0", self.other,
                             "--text", self.text, "-c", "64", "--quantise", "q8_0",
                             "--speed-prompt", "16", "--speed-decode", "4", "--speed-rounds", "2",
                             "--html", page)
        names = [row["name"] for row in report["rows"]]
        self.assertEqual(names, ["tiny", "tiny q8_0", "tiny q4_0", "other"])
        base, q8, q4, other = report["rows"]
        self.assertEqual(base["against_first"]["kl_mean"], 0)
        self.assertLess(q8["against_first"]["kl_mean"], q4["against_first"]["kl_mean"])
        self.assertGreater(other["against_first"]["kl_mean"], 0.05)
        self.assertGreater(base["held_bytes"], q8["held_bytes"])
        self.assertGreater(q8["expert_bytes"], q4["expert_bytes"])
        self.assertGreater(other["speed"]["decode_tokens_per_core_second"], 0)
        html = page.read_text()
        for part in ("<svg", "tiny q4_0", "--speed-rounds", "prefers-color-scheme"):
            self.assertIn(part, html)
        self.assertNotRegex(html, r"(src|href)=")

    def test_prints_two_tables(self):
        text = self.output("compare", self.model, self.other, "--text", self.text, "--no-speed")
        self.assertRegex(text, r"model +perplexity +ln ratio")
        self.assertRegex(text, r"model +params +active +file")


    def test_what_was_measured_is_printed_before_a_page_that_cannot_be_written(self):
        result = run("compare", self.model, self.other, "--text", self.text, "--no-speed",
                     "--html", self.root / "none" / "out.html")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, r"model +perplexity +ln ratio")
        self.assertIn("out.html", result.stderr)


class Bench(WithModel):
    LAYER = ("--layer", "--rows", "1,8", "--dtype", "bf16,q8_0")

    def test_times_a_model(self):
        report = self.report("bench", self.model, "--prompt", "16", "--decode", "4", "--batch", "2",
                             "--context", "8", "--rounds", "2", "--dtype", "f32,q4_0")
        self.assertEqual([row["dtype"] for row in report["models"]], ["f32", "q4_0"])
        for row in report["models"]:
            for phase in ("prefill", "decode"):
                speed = row[phase]
                self.assertEqual(speed["tokens"], 32 if phase == "prefill" else 8)
                self.assertGreater(speed["tokens_per_core_second"], 0)
                self.assertIn(speed["share"]["limit"], ("memory", "fp32", "int8", "bf16"))
            loading = row["loading"]
            self.assertEqual(loading["packed_bytes"], row["weight_bytes"])
            self.assertGreater(loading["stored_bytes"], 0)
            self.assertGreater(loading["seconds"], 0)
            self.assertIn("peak_anonymous_bytes", loading)
        self.assertEqual(report["layers"], [])
        for key in ("cpu_features", "kernels", "threads"):
            self.assertIn(key, report["machine"])
        limits = report["limits"]["all_threads"]
        for key in ("dram_read_bytes", "fp32_operations", "int8_operations"):
            self.assertGreater(limits[key]["per_core_second"], 0)
        self.assertGreaterEqual(report["load"]["other_cores"], 0)

    def test_times_a_layer_against_latent_experts(self):
        report = self.report("bench", self.model, *self.LAYER, "--latent-dim", "8",
                             "--group-size", "2", "--factor", "gate,up,down")
        rows = report["layers"]
        self.assertEqual(len(rows), 2 * 2 * 2)
        for dense, latent in zip(rows[::2], rows[1::2]):
            self.assertIsNone(dense["latent"])
            self.assertEqual(latent["latent"]["latent_dim"], 8)
            self.assertTrue(latent["latent"]["factor_down"])
            gain = latent["against_dense"]
            self.assertAlmostEqual(gain["bytes"], latent["bytes"] / dense["bytes"])
            self.assertAlmostEqual(gain["realised"], gain["speed"] * gain[gain["realised_of"]])

    def test_prints_tables(self):
        text = self.output("bench", self.model, *self.LAYER, "--latent-dim", "8")
        self.assertRegex(text, r"limit +instructions +unit +1 thread")
        self.assertRegex(text, r"dense +bf16 +1 ")
        self.assertRegex(text, r"experts +held +rows +speed vs dense")
        self.assertIn("k=4 r=8 gate,up", text)
        self.assertIn("talpa bench MODEL", self.output("bench"))

    def test_says_what_is_wrong(self):
        for arguments, message in (
                (("--config", "qwen3-30b-a3"), "did you mean qwen3-30b-a3b;"),
                (("--layer",), "of which model?"),
                ((self.model, "--latent-dim", "8"), "use --layer"),
                ((self.model, "--layer", "--latent-dim", "8", "--rounds", "3"), "at least 5"),
                ((self.model, "--layer", "--prompt", "8"), "--layer"),
                ((self.model, "--dtype", "q5_k"), "q5_k")):
            result = run("bench", *arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(message, result.stderr)


class LatentExperts(WithModel):
    """--experts and --expert-cache, on experts on mixed bases."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mixed = make_mixed_model(cls.root / "mixed")
        cls.generate = ("generate", cls.mixed, "-p", "Once", "-n", "12", "--ignore-eos",
                        "--experts")

    def test_every_form_says_the_same(self):
        dense = self.report(*self.generate, "dense")
        self.assertIsNone(dense["expert_cache"])
        for cache, found in ((0, 0), (1, 1)):
            report = self.report(*self.generate, "latent", "--expert-cache", cache)
            self.assertEqual(report["tokens"], dense["tokens"])
            counts = report["expert_cache"]
            # The last of twelve tokens is not fed; two experts in each of two layers.
            self.assertEqual(counts["hits"] + counts["misses"], 11 * 2 * 2)
            self.assertEqual(counts["hits"] > 0, bool(found))
            self.assertEqual(counts["hit_rate"], counts["hits"] / 44)
            self.assertEqual(counts["bytes"] > 0, bool(found))

    def test_logs_the_choice_and_what_was_found(self):
        automatic = run(*self.generate, "auto").stderr
        self.assertRegex(automatic, "latent experts run as dense ones: the dense experts take")
        latent = run(*self.generate, "latent", "--expert-cache", "0").stderr
        self.assertIn("latent experts run latent: asked for", latent)
        self.assertRegex(latent, r"0\.0 % of 44 experts found in the cache, .* formed")
        unused = run(*self.generate, "dense", "--expert-cache", "1").stderr
        self.assertIn("the bound of their cache is not used", unused)

    def test_bench_and_eval_tell(self):
        models = self.report("bench", self.mixed, "--prompt", "4", "--decode", "5", "--rounds", "2",
                             "--experts", "latent", "--expert-cache", "1")["models"]
        self.assertEqual(models[0]["experts"], "latent")
        self.assertEqual(models[0]["decode"]["expert_cache"]["hits"], 5 * 2 * 2)
        self.assertEqual(models[0]["decode"]["expert_cache"]["hit_rate"], 1)
        text = self.output("bench", self.mixed, "--prompt", "4", "--decode", "5", "--rounds", "2",
                           "--experts", "latent", "--expert-cache", "0")
        self.assertRegex(text, r"decode .* 0\.0 %")
        arguments = ("eval", "ppl", self.mixed, "-f", self.text, "-c", "64", "--experts")
        latent, dense = self.report(*arguments, "latent"), self.report(*arguments, "dense")
        self.assertEqual(latent["nll"], dense["nll"])
        self.assertGreater(latent["expert_cache"]["misses"], 0)
        self.assertEqual((dense["experts"], dense["expert_cache"]), ("dense", None))

    def test_inspect_names_the_bases(self):
        self.assertIn("mixed bases of rank 4, silu", self.output("inspect", self.mixed))

    def test_says_what_is_wrong(self):
        for model, arguments, message in (
                (self.model, ("--experts", "latent"), "experts = latent: the model has no latent"),
                (self.mixed, ("--experts", "sparse"), "sparse"),
                (self.mixed, ("--expert-cache", "-1"), "--expert-cache")):
            result = run("generate", model, "-p", "a", "-n", "1", *arguments)
            self.assertNotEqual(result.returncode, 0, arguments)
            self.assertIn(message, result.stderr)


class TokenizerTrain(WithModel):
    def test_trains_what_tokenize_reads(self):
        out = self.root / "trained.json"
        self.output("tokenizer", "train", self.text, "-o", out, "--vocab-size", "280")
        ids = self.report("tokenize", out, "it was the best")["ids"]
        self.assertLess(len(ids), len("it was the best"))
        self.assertEqual(
            self.output("tokenize", out, " ".join(map(str, ids)), "--decode"), "it was the best\n")
        again = run("tokenizer", "train", self.text, "-o", out)
        self.assertEqual(again.returncode, 2)
        self.assertIn("--force", again.stderr)


RECIPE = """
name = "tiny"
[model]
family = "qwen3_moe"
vocab_size = 260
dim = 16
num_layers = 1
ffn_dim = 16
bos_token = 0
eos_tokens = [0]
[model.attention]
num_heads = 2
num_kv_heads = 1
head_dim = 8
qk_norm = "per_head"
[model.moe]
num_experts = 4
top_k = 2
hidden_dim = 8
[data]
train = "{text}"
valid = "{text}"
tokenizer = "{tokenizer}"
cache = "{root}/ids"
sequence_length = 16
batch_size = 2
eval_batches = 1
[trainer]
steps = 4
log_every = 1
eval_every = 4
checkpoint_every = 2
threads = 1
"""


@unittest.skipIf(os.environ.get("TALPA_HAS_LABORATORY", "1") != "1", "built without libtorch")
class Train(WithModel):
    def setUp(self):
        super().setUp()
        text = self.root / "text.jsonl"
        text.write_text("".join(json.dumps({"text": f"document {i} of a few"}) + "\n"
                                for i in range(40)))
        self.recipe = self.root / "tiny.toml"
        self.recipe.write_text(RECIPE.format(text=text, tokenizer=self.model, root=self.root))
        self.out = self.root / self.id()

    def train(self, *arguments):
        return run("train", self.recipe, "-o", self.out, *arguments)

    def test_a_run_is_only_replaced_when_the_new_one_can_start(self):
        first = self.train("--json")
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertIn("loss", json.loads(first.stdout)["metrics"])
        before = (self.out / "metrics.jsonl").read_text()

        again = self.train()
        self.assertEqual(again.returncode, 2)
        self.assertIn("--resume goes on, --force starts anew", again.stderr)
        wrong = self.train("--force", "--set", "data.train=none.jsonl")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("none.jsonl", wrong.stderr)
        self.assertEqual((self.out / "metrics.jsonl").read_text(), before)

        self.assertEqual(self.train("--force", "--set", "trainer.steps=2").returncode, 0)
        self.assertNotEqual((self.out / "metrics.jsonl").read_text(), before)

    def test_resume_names_what_the_recipe_has_changed(self):
        self.assertEqual(self.train().returncode, 0)
        config = (self.out / "config.json").read_text()
        wrong = self.train("--resume", "--set", "seed=7", "--set", "initial_scale=fan_in")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("config.json has another seed, initial_scale than the recipe", wrong.stderr)
        self.assertEqual((self.out / "config.json").read_text(), config)

    def test_resume_sees_that_the_text_has_changed(self):
        self.assertEqual(self.train().returncode, 0)
        before = (self.out / "env.json").read_text()
        (self.root / "text.jsonl").write_text('{"text": "another text of words"}\n' * 40)
        wrong = self.train("--resume")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("text and tokenizer of the recipe's paths are now", wrong.stderr)
        self.assertEqual((self.out / "env.json").read_text(), before)

    def test_wrong_settings_fail_before_the_first_step(self):
        short = self.root / "short.jsonl"
        short.write_text('{"text": "a"}\n')
        for message, *settings in (
                ("short.jsonl holds less than one window", f"data.valid='{short}'"),
                ("model.eos_tokens has token 300, outside", "model.eos_tokens=[300]"),
                ("data.sequence_length = 16 is above model.max_positions", "model.max_positions=8"),
                ("trainer.threads = 100000 is above 1024", "trainer.threads=100000")):
            result = self.train(*[word for s in settings for word in ("--set", s)])
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(message, result.stderr)
            self.assertFalse(self.out.exists())
        self.assertIn("RECIPE is required", run("train").stderr)

    @unittest.skipIf(os.environ.get("TALPA_SANITIZE"), "a sanitizer needs the address space")
    def test_memory_that_is_not_there(self):
        result = subprocess.run(
            ["bash", "-c", 'ulimit -v 3000000; exec "$@"', "-", PROGRAM, "train", self.recipe, "-o",
             self.out, "--set", "model.dim=1024", "--set", "model.moe.hidden_dim=4096", "--set",
             "model.moe.num_experts=256"], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("you tried to allocate 4294967296 bytes", result.stderr)
        self.assertNotIn("frame #", result.stderr)

    def test_force_keeps_what_is_not_a_runs(self):
        self.assertEqual(self.train().returncode, 0)
        (self.out / "thesis.txt").write_text("chapter 1")
        result = self.train("--force")
        self.assertEqual(result.returncode, 2)
        self.assertIn("holds thesis.txt", result.stderr)
        self.assertTrue((self.out / "final").exists())

    def test_resume_does_not_go_back(self):
        self.assertEqual(self.train().returncode, 0)
        before = (self.out / "metrics.jsonl").read_text()
        result = self.train("--resume", "--set", "trainer.steps=3")
        self.assertEqual(result.returncode, 1)
        self.assertIn("is at step 4, beyond trainer.steps = 3", result.stderr)
        self.assertEqual((self.out / "metrics.jsonl").read_text(), before)

    def test_two_trainings_do_not_share_a_folder(self):
        first = subprocess.Popen([PROGRAM, "train", self.recipe, "-o", self.out, "--set",
                                  "trainer.steps=1000000"], stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 120
            while not list(self.out.glob("checkpoints/step-*")) and time.monotonic() < deadline:
                time.sleep(0.05)
            for flag in ("--resume", "--force"):
                second = self.train(flag)
                self.assertEqual(second.returncode, 2)
                self.assertIn(f"another process is at work in {self.out}", second.stderr)
            self.assertIsNone(first.poll())
        finally:
            first.terminate()
            first.communicate()
        self.assertTrue(list(self.out.glob("checkpoints/step-*")))

    def test_a_loss_that_is_no_number_ends_the_run(self):
        self.assertEqual(self.train().returncode, 0)
        weights = self.out / "checkpoints" / "step-00000004" / "model.safetensors"
        content = bytearray(weights.read_bytes())
        header = json.loads(content[8:8 + int.from_bytes(content[:8], "little")])
        begin = header["model.norm.weight"]["data_offsets"][0] + 8 + int.from_bytes(
            content[:8], "little")
        content[begin:begin + 4] = b"\0\0\xc0\x7f"  # NaN
        weights.write_bytes(content)
        wrong = self.train("--resume", "--set", "trainer.steps=8", "--set",
                           "trainer.spike_guard.deviations=0")
        self.assertEqual(wrong.returncode, 1)
        self.assertRegex(wrong.stderr, r"step 5: loss -?nan with gradient norm .* is not finite; "
                                       r"lower trainer.schedule.learning_rate and resume from .*00000004")

    def test_runs_lists_and_plot_draws(self):
        self.assertEqual(self.train().returncode, 0)
        listed = run("runs", self.out.parent)
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertIn("finished", listed.stdout)
        mine = [r for r in json.loads(run("runs", self.out, "--json").stdout)]
        self.assertEqual([(r["step"], r["steps"], r["finished"]) for r in mine], [(4, 4, True)])
        self.assertGreater(mine[0]["valid_loss"], 0)
        page = self.root / "page.html"
        drawn = run("plot", self.out, "-o", page)
        self.assertEqual(drawn.returncode, 0, drawn.stderr)
        self.assertIn("Held-out loss", page.read_text())
        self.assertNotIn("http", page.read_text().replace("http://www.w3.org", ""))
        figure = self.root / "loss.svg"
        self.assertEqual(run("plot", self.out, "-o", figure).returncode, 0)
        self.assertRegex(figure.read_text(), r"^<svg [^>]*>(.|\n)*Held-out loss(.|\n)*</svg>\n$")
        wrong = run("plot", self.root, "-o", page)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("holds no run", wrong.stderr)

    def test_dry_run_estimates_and_leaves_nothing(self):
        result = self.train("--dry-run", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        self.assertEqual((report["steps"], report["tokens"]), (4, 4 * 2 * 16))
        self.assertGreater(report["seconds"], 0)
        self.assertGreater(report["parameters"], report["non_embedding_parameters"])
        self.assertFalse(self.out.exists())

    def test_a_recipe_stands_on_its_base(self):
        over = self.root / "over.toml"
        over.write_text('base = "tiny.toml"\n[trainer.schedule]\nkind = "wsd"\n')
        shown = run("train", over, "--print-config")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("'wsd'", shown.stdout.replace('"', "'"))
        self.assertIn("steps = 4", shown.stdout)
        loop = self.root / "loop.toml"
        loop.write_text('base = "loop.toml"\n')
        wrong = run("train", loop, "--print-config")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("loop.toml", wrong.stderr)
        loop.write_text('base = "nowhere.toml"\n')
        self.assertIn("nowhere.toml", run("train", loop, "--print-config").stderr)

    def test_never_removes_what_is_not_a_run(self):
        keep = self.out / "thesis.txt"
        keep.parent.mkdir()
        keep.write_text("chapter 1")
        result = self.train("--force")
        self.assertEqual(result.returncode, 2)
        self.assertIn("not a run's", result.stderr)
        self.assertEqual(keep.read_text(), "chapter 1")

    def test_a_setting_that_the_family_cannot_store_fails_before_training(self):
        result = self.train("--set", "model.tie_embeddings=false", "--set",
                            "model.moe.latent.latent_dim=8")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("qwen3_moe", result.stderr)
        self.assertFalse(self.out.exists())


@unittest.skipIf(os.environ.get("TALPA_HAS_LABORATORY", "1") != "1", "built without libtorch")
class Convert(WithModel):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.calibration = cls.root / "calibration"
        made = run("calibrate", cls.model, cls.text, "--tokens", "512", "-o", cls.calibration)
        assert made.returncode == 0, made.stderr
        cls.refit = ("--refit", "2", "--text", cls.text, "-c", "32", "--refit-tokens", "128")

    def test_refit_refuses_experts_that_share_more_than_a_latent(self):
        for method in ("merge", "delta"):
            result = run("convert", self.model, self.root / method, "--method", method,
                         "--budget", "0.75", "--calibration", self.calibration, *self.refit)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(f"a refit would undo what {method} shares", result.stderr)
            self.assertFalse((self.root / method).exists())

    def test_refit_tells_the_size_of_what_it_wrote(self):
        out = self.root / "refitted"
        report = self.report("convert", self.model, out, "--method", "svd", "--latent-dim", "8",
                             *self.refit)
        with (out / "model.safetensors").open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        spans = [tensor["data_offsets"] for name, tensor in header.items()
                 if ".experts." in name or "_latent_proj." in name]
        self.assertEqual(report["expert_bytes"], sum(end - begin for begin, end in spans))

    def test_methods_without_latents_are_materialized_as_they_are(self):
        for method, *options in (("none",), ("prune", "--keep-experts", "2",
                                             "--calibration", self.calibration)):
            files = []
            for flags in ((), ("--materialize",)):
                folder = self.root / f"{method}{len(flags)}"
                folder.mkdir()
                files.append(folder / "model.gguf")  # the file's name is in it
                self.output("convert", self.model, files[-1], "--method", method, "--dtype", "q8_0",
                            *options, *flags)
            self.assertEqual(files[0].read_bytes(), files[1].read_bytes())


@unittest.skipIf(os.environ.get("TALPA_HAS_LABORATORY", "1") != "1", "built without libtorch")
class Outputs(WithModel):
    """What is read, or is not a model's, stays with --force too."""

    def refused(self, message, *arguments):
        before = {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        result = run(*arguments, "--force")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn(message, result.stderr)
        after = {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        self.assertEqual(before, after)

    def test_convert(self):
        for output in (self.model, self.root):
            self.refused("which is read", "convert", self.model, output, "--budget", "0.9")
        notes = self.root / "notes"
        notes.mkdir()
        (notes / "thesis.txt").write_text("chapter 1")
        self.refused("holds thesis.txt", "convert", self.model, notes, "--budget", "0.9")
        self.refused("is a file", "convert", self.model, self.text, "--budget", "0.9")

    def test_text(self):
        self.refused("which is read", "calibrate", self.model, self.text, "-o", self.text)
        self.refused("which is read", "tokenizer", "train", self.text, "-o", self.text)


@unittest.skipIf(os.environ.get("TALPA_SANITIZE"), "takes minutes under a sanitizer")
class SharedModel(unittest.TestCase):
    def test_loss_of_the_trained_moe(self):
        model = Path(os.environ.get("TALPA_SHARED_DATA", "")) / "models/qwen3moe-3m"
        if not model.exists():
            self.skipTest(f"{model} is not there")
        result = run("eval", "ppl", model, "--file", model / "test_ids.u16", "--ids", "--dtype",
                     "f32", "--json")
        self.assertAlmostEqual(json.loads(result.stdout)["nll"], 3.6503, places=4)


if __name__ == "__main__":
    unittest.main()
