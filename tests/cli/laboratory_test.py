"""What the laboratory's commands do, on a tiny model."""

import json
import os
import subprocess
import time
import unittest

from harness import PROGRAM, WithModel, run


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
            ["bash", "-c", 'ulimit -v 4000000; exec "$@"', "-", PROGRAM, "train", self.recipe, "-o",
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


if __name__ == "__main__":
    unittest.main()
