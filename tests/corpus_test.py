#!/usr/bin/env python3
"""Tests what scripts/fetch-data does to text: markup readers, cleaning, splitting. No network."""

import hashlib
import json
import struct
import sys
import tempfile
import unittest
import zlib
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from corpus import build, clean, markup, packages, sources  # noqa: E402


class Markup(unittest.TestCase):
    def test_html(self):
        for source, expected in (
            ("<p>a &amp; b&#64;c</p>", "a & b@c"),
            ("<p>one\n  two</p><p>three</p>", "one two\n\nthree"),
            ("<ul><li><p>x</p></li><li>y</li></ul>", "- x\n\n- y"),
            ("<pre>if x:\n    y &lt; 2\n</pre>", "if x:\n    y < 2"),
            ('<nav><p>menu</p></nav><p>text<a class="headerlink" href="#">¶</a></p>', "text"),
            ('<div class="toctree-wrapper"><div>skip</div></div>kept', "kept"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
            ("<p>1 < 2</p>", "1 < 2"),
            ("<p>open <b>tags", "open tags"),
        ):
            with self.subTest(source=source):
                self.assertEqual(markup.html_text(source), expected)

    def test_html_between_markers(self):
        page = '<p>banner</p><div class="body" role="main"><p>text</p></div><footer>end</footer>'
        self.assertEqual(markup.html_text(page, '<div class="body"', "<footer>"), "text")
        self.assertEqual(markup.html_text("<p>text</p>", '<div class="body"'), "")

    def test_pod(self):
        for source, expected in (
            ("=head1 NAME\nX<index>\n\nB<bold C<code>> E<lt>here", "NAME\n\nbold code <here"),
            ("See L<perlre>, L<the manual|perlop/x> and L<http://a.b/c>.",
             "See perlre, the manual and http://a.b/c."),
            ("C<< $a->{b} >> or C<<< x << 2 >>>", "$a->{b} or x << 2"),
            ("=over 4\n\n=item * one\n\n=back\n\n  verbatim C<kept>", "one\n\n  verbatim C<kept>"),
            ("=begin html\n\n<b>x</b>\n\n=end html\n\ntext", "text"),
        ):
            with self.subTest(source=source):
                self.assertEqual(markup.pod_text(source), expected)

    def test_osis(self):
        source = ('<title>T</title><div sID="gen1" type="x-p"/>In <w lemma="x">the</w> beginning'
                  '<note>see</note>.<l sID="gen2"/>God')
        self.assertEqual(markup.osis_text(source), "In the beginning.\nGod")


class Readers(unittest.TestCase):
    def test_dictionary(self):
        text = ("00-database-url\n   skipped\n\n"
                'Absolutely \\Ab"so*lute*ly\\, adv. [F. \\\'e.]\n   In an {absolute} manner; '
                "caf['e].\n   [1913 Webster]\n")
        (group,) = sources.read_dictionary(text.encode())
        self.assertIn("In an absolute manner; cafe\u0301.", group)
        for gone in ("database", "so*lute", "Webster", "{"):
            self.assertNotIn(gone, group)

    def test_wordnet(self):
        data = (b"  1 licence text | not a synset\n"
                b"00039297 04 n 02 contact 2 ice_cream 0 000 | close; \"in contact\"  \n")
        self.assertEqual(sources.read_wordnet(data),
                         ['contact, ice cream (noun): close; "in contact"'])

    def test_r_novels(self):
        lines = ["EMMA", "", "CHAPTER I", "", "Emma _Woodhouse_,", "handsome."]
        body = b"X\n" + struct.pack(">3iI", 3, 0x40201, 0x30500, 5) + b"UTF-8"
        body += struct.pack(">2I", 16, len(lines))
        body += b"".join(struct.pack(">2I", 0x40009, len(t)) + t.encode() for t in lines)
        data = struct.pack(">I", len(body)) + zlib.compress(body)
        self.assertEqual(sources.read_r_novels(data + data),
                         ["EMMA", "CHAPTER I\n\nEmma Woodhouse, handsome."] * 2)

    def test_sword_books(self):
        book = '<chapter n="1" sID="a"/>One.<chapter n="2" sID="b"/>Two.'.encode()
        data = zlib.compress(book) + bytes(8) + zlib.compress(book)
        self.assertEqual([t for t in sources.read_sword(data) if t], ["One.", "Two."] * 2)


class Cleaning(unittest.TestCase):
    def test_normalise(self):
        self.assertEqual(clean.normalise("a\u00a0b \r\n\n\n\ne\u0301\x00\u200b"), "a b\n\né")

    def test_repeated_lines_and_sentences_are_dropped(self):
        first = "This sentence is long enough to be remembered by the one who drops repeats."
        second = "Another sentence that is certainly long enough to be remembered as well."
        text = f"{first} {second}\n\nshort"
        deduplicator = clean.Deduplicator()
        self.assertEqual(deduplicator.clean(text), text)
        self.assertEqual(deduplicator.clean(f"New here. {first}\n\nshort\n\n{second} {first}"),
                         "New here.\n\nshort")

    def test_split_long_keeps_everything_within_the_limit(self):
        text = "\n\n".join(f"paragraph {i} " + "x" * 90 for i in range(100))
        pieces = clean.split_long(text, 1000)
        self.assertEqual("\n\n".join(pieces), text)
        self.assertLessEqual(max(len(piece) for piece in pieces), 1000)

    def test_unreadable_texts(self):
        prose = "Words that make up a text of some length. " * 10
        self.assertTrue(clean.is_readable(prose))
        for text in ("too short", "0x12 0x34 | 56 " * 50, "文字だけの文章です。" * 50):
            with self.subTest(text=text[:20]):
                self.assertFalse(clean.is_readable(text))


class Splits(unittest.TestCase):
    def test_shares(self):
        digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(20_000)]
        counts = {split: sum(build.split_of(d) == split for d in digests) for split in build.SPLITS}
        self.assertAlmostEqual(counts["valid"] / 20_000, 0.01, delta=0.003)
        self.assertAlmostEqual(counts["test"] / 20_000, 0.01, delta=0.003)

    def test_a_changed_file_or_recipe_is_noticed(self):
        with tempfile.TemporaryDirectory() as scratch:
            out, splits = Path(scratch), {}
            for split in build.SPLITS:
                (out / f"{split}.jsonl").write_text(split)
                splits[split] = {"sha256": packages.sha256_file(out / f"{split}.jsonl")}
            manifest = {"recipe": "r", "splits": splits}
            (out / "manifest.json").write_text(json.dumps(manifest))
            self.assertTrue(build.is_current(out, "r"))
            self.assertFalse(build.is_current(out, "another"))
            (out / "valid.jsonl").write_text("changed")
            self.assertFalse(build.is_current(out, "r"))
            self.assertFalse(build.is_current(out / "absent", "r"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
