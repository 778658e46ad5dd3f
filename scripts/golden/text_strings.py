"""Random and adversarial Unicode strings for comparing tokenizers."""

import random
import unicodedata

SPACES = [" ", " ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u1680", "\u180e", "\u2002", "\u200b",
          "\u2028", "\u2029", "\u202f", "\u3000", "\ufeff", "\x0b", "\x0c", "\x85", "   ", " " * 17]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
         "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea",
         "1\ufe0f\u20e3", "\u2764\ufe0f", "\U0001f9d1\U0001f3ff\u200d\U0001f680",
         "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"]
WORDS = ("the of and to in is that it's don't we'll they've I'm she'd you're can't 'tis rock'n'roll "
         "Hello WORLD Tokenizer unbelievable antidisestablishmentarianism naïve café résumé Straße "
         "İstanbul ıI ǅ ﬁn ﬄ Ω Å Å Σίσυφος ΣΑΣ Привет мир ёлка Україна 你好 世界 漢字 日本語 "
         "カタカナ ｶﾞ ひらがな 한국어 한글 सन्धि क्षत्रिय ไทย ภาษา العربية مرحبا שלום አማርኛ ქართული "
         "հայերեն ᏣᎳᎩ ᚠᚢᚦ x=y+1; foo_bar() {return 0;} <div> http://a.b/c?d=e&f=1 a.b@c.de "
         "3.14159 1,000,000 ¼ ½ ² ³ ①② Ⅷ ٣٤٥ १२३ 𝟙𝟚 𝒳 𝔘 －１ € £ ¥ … — – “q” ‘s’ «g» ▁ ▁▁ Ġ Ċ ## ##ing "
         "<0x0A> <0xE2> \\n \\ ' '' 'S 'ſ \u2019s n't do not").split(" ")
COMBINING = ["e\u0301", "a\u0300\u0316\u0327", "\u0301", "o\u0302\u0303\u0304", "\u1100\u1161\u11a8",
             "\u0915\u094d\u0937", "\u0e33", "\u05e9\u05c1", "q\u0307\u0323", "\u0344", "\u212b",
             "\U0001d15f", "\u0dd9\u0dcf", "A\u030a", "\u0958", "\ufb2c"]


def assigned_characters():
    """Code points assigned in this Python's Unicode, surrogates left out."""
    return [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]


def blocks(characters, size=96):
    """Runs of neighbours: mostly one script each."""
    return [characters[i:i + size] for i in range(0, len(characters), size)]


def make_strings(count, seed, specials=()):
    """`count` different kinds of strings; `specials` are tokens to be written inside."""
    rng = random.Random(seed)
    characters = assigned_characters()
    common = [c for c in characters if ord(c) < 0x3000]
    runs = blocks([c for c in characters if ord(c) < 0x3400 or ord(c) > 0xd7a3])

    def pick(kind):
        if kind == "any":
            return "".join(rng.choice(characters) for _ in range(rng.randint(1, 12)))
        if kind == "common":
            return "".join(rng.choice(common) for _ in range(rng.randint(1, 16)))
        if kind == "script":
            run = rng.choice(runs)
            return "".join(rng.choice(run) if rng.random() < 0.85 else rng.choice(SPACES)
                           for _ in range(rng.randint(1, 24)))
        if kind == "spaces":
            return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 8)))
        if kind == "controls":
            return "".join(chr(rng.choice([*range(32), *range(127, 160), 0xad, 0xfffd, 0xfffe, 0xe000]))
                           for _ in range(rng.randint(1, 6)))
        if kind == "digits":
            return "".join(rng.choice("0123456789.,") for _ in range(rng.randint(1, 12)))
        if kind == "ascii":
            return "".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 20)))
        if kind == "repeat":
            return rng.choice(["a", "=", " ", "\n", "\u0301", "é", "字", "\U0001f600", "-", "0"]) * \
                rng.choice([2, 3, 7, 31, 100, 130])
        if kind == "special":
            return rng.choice(["", " ", "a", "\n", "é"]) + rng.choice(specials or ["<s>"]) + \
                rng.choice(["", " ", "b", "\n"])
        if kind == "words":
            return "".join(rng.choice(WORDS) + rng.choice([" ", " ", "", ", ", ". ", "\n"])
                           for _ in range(rng.randint(1, 12)))
        return rng.choice({"emoji": EMOJI, "combining": COMBINING}[kind])

    kinds = ["any", "common", "script", "script", "spaces", "controls", "digits", "ascii", "repeat",
             "special", "words", "words", "emoji", "combining"]
    fixed = ["", " ", "\n", "\x00", "a", "\ufffd", "\u0301", *WORDS, *EMOJI, *COMBINING, *SPACES,
             *specials]
    strings = fixed[:count]
    while len(strings) < count:
        parts = [pick(rng.choice(kinds)) for _ in range(rng.choice([1, 1, 2, 3, 5]))]
        strings.append(rng.choice(["", "", " "]).join(parts))
    return strings
