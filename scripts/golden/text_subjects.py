"""Small tokenizers of every kind, trained on text made here, and those of real models."""

import base64
import json
import random
import tempfile
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

import text_strings


def corpus():
    """Sentences that repeat enough for a tokenizer to learn from them."""
    rng = random.Random(5)
    words = [w for w in text_strings.WORDS if w.strip()]
    common = ("token tokens expert experts router routes latent space model models small train "
              "training trained text words wordless the a of in and un re ing ed ly").split()
    lines = []
    for _ in range(3000):
        pool = common if rng.random() < 0.7 else words
        lines.append(" ".join(rng.choice(pool) for _ in range(rng.randint(3, 14))) + ".")
    return lines


def train_byte_level(documents, vocab_size, min_frequency=0):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(documents, trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, show_progress=False,
        special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def byte_level():
    t = train_byte_level(corpus(), 500)
    t.add_tokens([AddedToken("<user>", single_word=True), AddedToken("<left>", lstrip=True),
                  AddedToken("<right>", rstrip=True, normalized=False)])
    return t


def llama3_style():
    """One Split with a long pattern, byte level without its own, ids of whole words first."""
    t = byte_level()
    data = json.loads(t.to_str())
    data["model"]["ignore_merges"] = True
    data["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {
            "Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
                     r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
    data["normalizer"] = {"type": "NFC"}
    data["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing",
         "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0],
                                              "tokens": ["<|endoftext|>"]}}}]}
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    return Tokenizer.from_str(json.dumps(data))


def sentencepiece_model(kind, vocab_size=600, rules=None, **options):
    """A model trained by sentencepiece; `rules` is a file of normalisation rules."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "corpus.txt"
        source.write_text("\n".join(corpus()), encoding="utf-8")
        if rules:
            table = Path(folder) / "rules.tsv"
            table.write_text(rules, encoding="utf-8")
            options["normalization_rule_tsv"] = str(table)
        sentencepiece.SentencePieceTrainer.train(
            input=str(source), model_prefix=str(Path(folder) / "m"), model_type=kind,
            vocab_size=vocab_size, minloglevel=2, character_coverage=0.98, num_threads=1,
            hard_vocab_limit=False, **options)
        return (Path(folder) / "m.model").read_bytes()


def pieces_of(model):
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [(sp.id_to_piece(i), sp.get_score(i)) for i in range(sp.vocab_size())]


def proto_field(message, number):
    """The bytes of a length-delimited field of a protocol buffer."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (message[at] & 0x7f) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 0x80:
                return value, at

    at = 0
    while at < len(message):
        key, at = varint(at)
        if key & 7 == 2:
            size, at = varint(at)
            if key >> 3 == number:
                return message[at:at + size]
            at += size
        elif key & 7 == 0:
            at = varint(at)[1]
        else:
            at += {1: 8, 5: 4}[key & 7]
    return b""


def charsmap_of(model):
    """precompiled_charsmap of the normalizer_spec of a sentencepiece ModelProto."""
    return proto_field(proto_field(model, 3), 2)


def merges_of(pieces):
    """Merges of a vocabulary with scores, best score first."""
    score = {piece: s for piece, s in pieces}
    merges = []
    for piece, s in pieces:
        local = [(piece[:i], piece[i:]) for i in range(1, len(piece))
                 if piece[:i] in score and piece[i:] in score]
        merges += [(a, b, s) for a, b in sorted(local, key=lambda p: (p[0], p[1]))]
    merges.sort(key=lambda m: -m[2])
    return [(a, b) for a, b, _ in merges]


def sentencepiece_bpe():
    """As Llama 2's: byte fallback, text as it is."""
    return sentencepiece_model("bpe", 900, byte_fallback=True, normalization_rule_name="identity",
                               remove_extra_whitespaces=False)


def llama_bpe(style):
    """BPE with byte fallback: Prepend and Replace (Llama 2) or Metaspace (Mistral)."""
    pieces = pieces_of(sentencepiece_bpe())
    vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
    plain = [(p, s) for p, s in pieces if not (p.startswith("<") and p.endswith(">") and len(p) > 2)]
    t = Tokenizer(models.BPE(vocab, merges_of(plain), unk_token="<unk>", fuse_unk=True,
                             byte_fallback=True))
    if style == "prepend":
        t.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                   decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    t.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


def word_piece():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(corpus(), trainers.WordPieceTrainer(
        vocab_size=500, show_progress=False,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    t.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return t


RULES = "\n".join(f"{' '.join(f'{ord(c):X}' for c in a)}\t{' '.join(f'{ord(c):X}' for c in b)}"
                  for a, b in [("\u00a0", " "), ("\u3000", " "), ("\ufb01", "fi"), ("\uff21", "A"),
                               ("e\u0301", "\u00e9"), ("\u2026", "..."), ("\u00bd", "1/2"),
                               ("\t", " "), ("\n", " "), ("\u00ad", "")]) + "\n"


def unigram(rules=RULES, byte_fallback=False):
    """SentencePiece's Unigram as transformers converts it."""
    options = {"rules": rules} if rules else {"normalization_rule_name": "nmt_nfkc"}
    model = sentencepiece_model("unigram", 900 if byte_fallback else 600,
                                byte_fallback=byte_fallback, **options)
    data = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap":
                base64.b64encode(charsmap_of(model)).decode()},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                          "split": True},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                    "split": True},
        "post_processor": None,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": byte_fallback,
                  "vocab": [[p, s] for p, s in pieces_of(model)]}}
    t = Tokenizer.from_str(json.dumps(data))
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    return t


def mixed():
    """The components that no famous model of today uses, in one."""
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=True))
    t.normalizer = normalizers.Sequence([
        normalizers.Nmt(), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
        normalizers.Strip(), normalizers.Replace("expert", "Expert")])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Digits(False),
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Split("-", "merged_with_next"),
        pre_tokenizers.Split("t", "merged_with_previous")])
    t.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=400, show_progress=False, special_tokens=["<unk>"], end_of_word_suffix="</w>"))
    t.decoder = decoders.BPEDecoder("</w>")
    t.add_tokens([AddedToken("LaTeX", normalized=True)])
    return t


SMALL = {
    "byte_level": byte_level, "llama3": llama3_style, "llama_prepend": lambda: llama_bpe("prepend"),
    "llama_metaspace": lambda: llama_bpe("metaspace"), "word_piece": word_piece,
    "unigram": unigram, "unigram_bytes": lambda: unigram(byte_fallback=True), "mixed": mixed,
}


def write_gpt2_gguf(tokenizer, path):
    import gguf
    data = json.loads(tokenizer.to_str())
    vocab = {**data["model"]["vocab"], **{t["content"]: t["id"] for t in data["added_tokens"]}}
    special = {t["id"]: t["special"] for t in data["added_tokens"]}
    tokens = sorted(vocab, key=vocab.get)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([1 if i not in special else 3 if special[i] else 4
                            for i in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) for pair in data["model"]["merges"]])
    finish_gguf(writer)


def write_llama_gguf(model, path):
    import gguf
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(sp.vocab_size())
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([sp.id_to_piece(i) for i in ids])
    writer.add_token_scores([sp.get_score(i) for i in ids])
    writer.add_token_types([2 if sp.is_unknown(i) else 3 if sp.is_control(i) else
                            6 if sp.is_byte(i) else 1 for i in ids])
    writer.add_bos_token_id(1)
    finish_gguf(writer)


def finish_gguf(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def from_smollm_gguf(path):
    """SmolLM2's tokenizer from its GGUF: digits one by one, then GPT-2's pattern."""
    import gguf
    reader = gguf.GGUFReader(path)
    def field(name):
        return reader.fields[f"tokenizer.ggml.{name}"].contents()
    tokens, types = field("tokens"), field("token_type")
    t = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)},
                             [tuple(m.split(" ")) for m in field("merges")]))
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([token for token, kind in zip(tokens, types) if kind == 3])
    return t
