"""What the runtime commands print, on a tiny model."""

import json
import math
import os
import signal
import subprocess
import unittest
from pathlib import Path

from harness import PROGRAM, WithModel, make_mixed_model, run


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
