#!/usr/bin/env python3
"""Makes tests/golden/encoder/bert/: a tiny random BERT as transformers saves it, a WordPiece
tokenizer, and embeddings of sentences: mean and first token, from a padded batch with its mask.

Run: .venv-oracle/bin/python scripts/golden/bert_encoder.py
"""

import json
import pathlib
import shutil

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/golden/encoder/bert"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LENGTHS = 40, 128, 129, 158  # tokens between [CLS] and [SEP]: inside and across a chunk of 128


def heldout(count):
    lines = (ROOT / "models/heldout.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines[:count]]


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=SPECIAL, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def build():
    config = transformers.BertConfig(
        vocab_size=320, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=72, max_position_embeddings=160, type_vocab_size=2)
    torch.manual_seed(11)
    model = transformers.BertModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm.weight" in name:
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.uniform_(-0.3, 0.3)
            else:
                parameter.normal_(0, 0.25)
    return model


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    texts = heldout(60)
    tokenizer = train_tokenizer(texts)
    model = build()
    model.save_pretrained(OUT)
    tokenizer.save(str(OUT / "tokenizer.json"))
    sentences = ["A mole.", "The old town lies by the river; nobody knows why!"]
    for text, length in zip(texts, LENGTHS):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert len(ids.ids) >= length
        sentences.append(text[:ids.offsets[length - 1][1]])
    encoded = [tokenizer.encode(text).ids for text in sentences]
    assert {len(ids) - 2 for ids in encoded} >= set(LENGTHS)
    width = max(map(len, encoded))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in encoded])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in encoded])
    with torch.no_grad():
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    unit = torch.nn.functional.normalize
    rounded = lambda rows: [[round(x, 8) for x in row] for row in unit(rows).tolist()]
    (OUT / "expected.json").write_text(json.dumps({
        "texts": sentences, "ids": encoded, "mean": rounded(mean),
        "first": rounded(hidden[:, 0])}) + "\n")


if __name__ == "__main__":
    main()
