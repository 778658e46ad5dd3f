"""The official openai client against a running server, every endpoint, streaming and not; and the
log-likelihoods of echo + logprobs, as lm-eval asks for them, beside transformers'. Exits 77 where
Python lacks them."""

import json
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

try:
    import openai
    import tokenizers
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

from running_server import MODEL, ROOT, TEMPLATE, RunningServer

TOLERANCE = 1e-2


def heldout(count):
    lines = (ROOT / "models/heldout.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"][:900] for line in lines[:count]]


def file_tokenizer():
    """Of the file itself: AutoTokenizer would put its own pre-tokenizer for the family in it."""
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(MODEL / "tokenizer.json"))


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        template = Path(folder.name) / "chat.jinja"
        template.write_text(TEMPLATE)
        cls.server = cls.enterClassContext(RunningServer(
            "--chat-template", template, "--api-key", "k", "--parallel", 16, "--alias", "moe"))
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="k", max_retries=0)

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["moe"])
        self.assertEqual(self.client.models.retrieve("moe").owned_by, "talpa")

    def test_completion_and_its_stream(self):
        call = {"model": "moe", "prompt": "The old town", "max_tokens": 20, "seed": 5, "n": 2,
                "temperature": 0.8, "top_p": 0.9, "presence_penalty": 0.5, "logprobs": 2}
        whole = self.client.completions.create(**call)
        self.assertEqual(whole.usage.completion_tokens, 40)
        self.assertEqual(len(whole.choices[1].logprobs.tokens), 20)
        texts = ["", ""]
        for part in self.client.completions.create(**call, stream=True):
            for choice in part.choices:
                texts[choice.index] += choice.text
        self.assertEqual(texts, [choice.text for choice in whole.choices])

    def test_chat_and_its_stream(self):
        call = {"model": "moe", "messages": [{"role": "system", "content": "Be short."},
                                             {"role": "user", "content": "Hello"}],
                "max_completion_tokens": 16, "seed": 3, "logprobs": True, "top_logprobs": 3,
                "extra_body": {"top_k": 40, "min_p": 0.01}}
        whole = self.client.chat.completions.create(**call)
        self.assertEqual(len(whole.choices[0].logprobs.content), 16)
        self.assertEqual(whole.choices[0].finish_reason, "length")
        text, usage = "", None
        for part in self.client.chat.completions.create(
                **call, stream=True, stream_options={"include_usage": True}):
            usage = part.usage or usage
            for choice in part.choices:
                text += choice.delta.content or ""
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(usage.completion_tokens, 16)

    def test_json_mode(self):
        ids = file_tokenizer().convert_tokens_to_ids(list('"}:]'))
        likely = {str(token): 9 for token in ids}
        whole = self.client.chat.completions.create(
            model="moe", messages=[{"role": "user", "content": "A list as JSON"}], n=16, seed=1,
            temperature=1.5, max_tokens=200, logit_bias=likely,
            response_format={"type": "json_object"})
        ended = [c for c in whole.choices if c.finish_reason == "stop"]
        self.assertGreater(len(ended), 2)
        for choice in ended:
            self.assertIsInstance(json.loads(choice.message.content), dict)

    def test_leaving_a_stream_frees_its_place(self):
        stream = self.client.completions.create(
            model="moe", prompt="a", max_tokens=900, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        answer = self.client.completions.create(model="moe", prompt="a", max_tokens=1)
        self.assertEqual(answer.usage.completion_tokens, 1)

    def test_errors_have_their_classes(self):
        create = self.client.completions.create
        with self.assertRaises(openai.BadRequestError) as caught:
            create(model="moe", prompt="a", max_tokens=5000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError) as caught:
            create(model="moe", prompt="a", temperature=9)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.AuthenticationError):
            self.client.with_options(api_key="wrong").models.list()
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("other")

    def test_tokens_go_there_and_back(self):
        def post(path, body):
            request = urllib.request.Request(
                self.server.url + path, json.dumps(body).encode(),
                {"Authorization": "Bearer k", "Content-Type": "application/json"})
            return json.load(urllib.request.urlopen(request, timeout=10))

        tokenizer = file_tokenizer()
        for text in heldout(20):
            ids = post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
            self.assertEqual(ids, tokenizer(text, add_special_tokens=False)["input_ids"])
            self.assertEqual(post("/detokenize", {"tokens": ids})["prompt"], text)


class DecoderEmbeddings(unittest.TestCase):
    """Means of hidden states beside those of transformers, through the official client."""

    def test_equal_those_of_transformers(self):
        model = transformers.AutoModel.from_pretrained(MODEL, dtype=torch.float32)
        tokenizer = file_tokenizer()
        texts = heldout(24)
        with RunningServer("--dtype", "f32", "--parallel", 8) as server:
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="-", max_retries=0)
            answer = client.embeddings.create(model="any", input=texts)  # base64 by itself
            plain = client.embeddings.create(model="any", input=texts[3], encoding_format="float")
            with self.assertRaises(openai.BadRequestError) as caught:
                client.embeddings.create(model="any", input="a", dimensions=3)
        self.assertEqual(caught.exception.param, "dimensions")
        self.assertTrue(torch.equal(torch.tensor(plain.data[0].embedding),
                                    torch.tensor(answer.data[3].embedding)))
        worst = 0.0
        for text, item in zip(texts, answer.data):
            ids = torch.tensor(tokenizer(text)["input_ids"])
            with torch.no_grad():
                hidden = model(ids[None]).last_hidden_state[0].mean(0)
            ours = torch.tensor(item.embedding)
            worst = max(worst, (ours - hidden / hidden.norm()).abs().max().item())
        print(f"largest difference of a decoder's embedding: {worst:.2e}")
        self.assertLess(worst, 1e-4)


class EncoderEmbeddings(unittest.TestCase):
    """all-MiniLM-L6-v2 (scripts/fetch-models minilm) beside transformers, and what a server of an
    encoder refuses."""

    GOLDEN = ROOT / "tests/golden/encoder/bert"
    MINILM = ROOT / ".assets/minilm"

    def test_all_minilm_equals_transformers(self):
        if not (self.MINILM / "model.safetensors").exists():
            self.skipTest("scripts/fetch-models minilm was not run")
        model = transformers.BertModel.from_pretrained(self.MINILM, dtype=torch.float32).eval()
        tokenizer = tokenizers.Tokenizer.from_file(str(self.MINILM / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        sentences = [s for text in heldout(40) for s in (text, text[:80], text[100:400])]
        with RunningServer("--dtype", "f32", model=self.MINILM) as server:
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="-", max_retries=0)
            answer = client.embeddings.create(model="minilm", input=sentences)
        worst, least = 0.0, 1.0
        for text, item in zip(sentences, answer.data, strict=True):
            with torch.no_grad():
                hidden = model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
            expected = torch.nn.functional.normalize(hidden.mean(0), dim=0)
            ours = torch.tensor(item.embedding)
            worst = max(worst, (ours - expected).abs().max().item())
            least = min(least, torch.dot(ours.double(), expected.double()).item())
        print(f"{len(sentences)} texts: largest difference {worst:.2e}, cosine from {least:.7f}")
        self.assertLess(worst, 1e-4)
        self.assertLess(abs(1 - least), 1e-5)

    def test_an_encoder_makes_vectors_and_no_text(self):
        with RunningServer(model=self.GOLDEN) as server:
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="-", max_retries=0)
            model, = client.models.list()
            self.assertEqual(model.id, "bert")
            with self.assertRaises(openai.BadRequestError) as caught:
                client.completions.create(model="bert", prompt="a")
            self.assertEqual(caught.exception.code, "model_not_supported")
            with self.assertRaises(openai.BadRequestError):
                client.chat.completions.create(
                    model="bert", messages=[{"role": "user", "content": "a"}])
            create, text = client.embeddings.create, "mole " * 400
            with self.assertRaises(openai.BadRequestError) as caught:
                create(model="bert", input=text)
            self.assertEqual(caught.exception.code, "context_length_exceeded")
            cut = create(model="bert", input=text, extra_body={"truncate": True})
            self.assertEqual(cut.usage.prompt_tokens, 160)
            expected = json.loads((self.GOLDEN / "expected.json").read_text())
            got = create(model="bert", input=expected["ids"]).data
            for item, wanted in zip(got, expected["mean"], strict=True):
                self.assertLess((torch.tensor(item.embedding) - torch.tensor(wanted)).abs().max(),
                                1e-5)
            health = json.load(urllib.request.urlopen(server.url + "/health", timeout=10))
            self.assertEqual(health, {"status": "ok"})


class LogLikelihoods(unittest.TestCase):
    """The requests and slices of lm-eval's local-completions: pre-tokenised prompts in batches."""

    def test_equal_those_of_transformers(self):
        model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
        tokenizer = file_tokenizer()
        prompts = [tokenizer(text)["input_ids"][:300] for text in heldout(24)]
        with RunningServer("--dtype", "f32", "--parallel", 8) as server:
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="-", max_retries=0)
            answer = client.completions.create(model="any", prompt=prompts, temperature=0,
                                               max_tokens=1, logprobs=1, seed=1234, echo=True)
        worst = 0.0
        for choice in answer.choices:
            ids = torch.tensor(prompts[choice.index])
            with torch.no_grad():
                expected = model(ids[None]).logits[0].log_softmax(-1)
            scores = choice.logprobs
            self.assertEqual(len(scores.token_logprobs), len(ids) + 1)
            likelihood = expected[:-1].gather(1, ids[1:, None])[:, 0]
            ours = torch.tensor(scores.token_logprobs[1:-1])
            worst = max(worst, (ours - likelihood).abs().max().item())
            self.assertLess(abs(ours.sum() - likelihood.sum()), TOLERANCE)
            greedy = [a == max(top.values())
                      for a, top in zip(scores.token_logprobs[1:], scores.top_logprobs[1:])]
            sure = expected.topk(2).values.diff(dim=1)[:, 0] < -1e-3
            best = expected.argmax(-1)[:-1] == ids[1:]
            for i in range(len(best)):
                if sure[i]:
                    self.assertEqual(greedy[i], bool(best[i]), (choice.index, i))
            self.assertTrue(greedy[-1])
        print(f"largest difference of a token's log-probability: {worst:.2e}")
        self.assertLess(worst, TOLERANCE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
