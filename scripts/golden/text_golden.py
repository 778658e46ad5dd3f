"""Writes tests/golden/text: small tokenizers of every kind, and ids and text by the originals."""

import json
from pathlib import Path

import sentencepiece

import text_strings
import text_subjects

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "text"


def write_trainer():
    """What Hugging Face's trainer learns, then the documents that it learns from."""
    documents = text_subjects.corpus()[:600]
    tokenizer = text_subjects.train_byte_level(documents, 700, 2)
    model = json.loads(tokenizer.to_str())["model"]
    lines = [{"merges": model["merges"], "vocab": model["vocab"]}, *documents]
    write_lines("trainer.jsonl", lines)


def write_gguf():
    """GGUF vocabularies: the byte-level one, and SentencePiece's BPE with ids by sentencepiece."""
    byte_level = text_subjects.SMALL["byte_level"]()
    text_subjects.write_gpt2_gguf(byte_level, OUT / "byte_level.gguf")
    model = text_subjects.sentencepiece_bpe()
    text_subjects.write_llama_gguf(model, OUT / "llama.gguf")
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    # Its decoder replaces broken bytes in its own way, so only ids are kept.
    write_lines("llama_gguf.cases.jsonl", [
        {"s": s, "ids": [1, *sp.encode(s)]} for s in text_strings.make_strings(260, 2) if s])


def write_lines(name, values):
    lines = "\n".join(json.dumps(value, separators=(",", ":")) for value in values)
    (OUT / name).write_text(lines + "\n", encoding="utf-8")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write_trainer()
    write_gguf()
    for name, make in text_subjects.SMALL.items():
        tokenizer = make()
        (OUT / f"{name}.tokenizer.json").write_text(
            json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False), encoding="utf-8")
        specials = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        cases = []
        for text in text_strings.make_strings(260, 1, specials):
            ids = tokenizer.encode(text).ids
            cases.append({"s": text, "ids": ids, "text": tokenizer.decode(ids, False)})
        write_lines(f"{name}.cases.jsonl", cases)
        print(name, tokenizer.get_vocab_size(), len(cases))


if __name__ == "__main__":
    main()
