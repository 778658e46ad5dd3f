#include <gtest/gtest.h>

#include "scratch.h"
#include "talpa/text/decoder.h"
#include "talpa/text/normalizer.h"
#include "talpa/text/post_processor.h"
#include "talpa/text/pre_tokenizer.h"

namespace talpa::text {
namespace {

using Strings = std::vector<std::string>;

std::string normalized(const char* json, std::string text) {
  make_normalizer(parse_json(json, "test"), "normalizer")->apply(text);
  return text;
}

Strings pre_tokenized(const char* json, const std::string& text) {
  std::vector<Piece> pieces;
  make_pre_tokenizer(parse_json(json, "test"), "pre_tokenizer")->split({text, true}, pieces);
  Strings out;
  for (Piece& piece : pieces) out.push_back(std::move(piece.text));
  return out;
}

Strings decoded(const char* json, Strings tokens) {
  make_decoder(parse_json(json, "test"), "decoder")->apply(tokens);
  return tokens;
}

TEST(Normalizer, EachKind) {
  struct Row {
    const char* json;
    const char* text;
    const char* expected;
  };
  const Row table[] = {
      {R"({"type":"NFC"})", "e\u0301 \ufb01", "\u00e9 \ufb01"},
      {R"({"type":"NFD"})", "\u00e9", "e\u0301"},
      {R"({"type":"NFKC"})", "\ufb01 e\u0301", "fi \u00e9"},
      {R"({"type":"NFKD"})", "\ufb01 \u00e9", "fi e\u0301"},
      {R"({"type":"Lowercase"})", "A\u00c9\u0130\u03a3", "a\u00e9i\u0307\u03c3"},
      {R"({"type":"Strip","strip_left":true,"strip_right":false})", " \u3000a ", "a "},
      {R"({"type":"Strip","strip_left":true,"strip_right":true})", " \n ", ""},
      {R"({"type":"StripAccents"})", "e\u0301a", "ea"},
      {R"({"type":"Replace","pattern":{"String":"."},"content":"-"})", "a.b", "a-b"},
      {R"({"type":"Replace","pattern":{"Regex":" +"},"content":" "})", "a   b", "a b"},
      {R"({"type":"Prepend","prepend":"_"})", "", ""},
      {R"({"type":"Nmt"})", "a\u0001\t\u200bb", "a  b"},
      {R"({"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,
           "strip_accents":null,"lowercase":true})",
       "\u00c9\u4e2d\u0000\t", "e \u4e2d "},
      {R"({"type":"Sequence","normalizers":[{"type":"Lowercase"},
           {"type":"Prepend","prepend":"A"}]})",
       "B", "Ab"},
  };
  for (const Row& row : table) EXPECT_EQ(normalized(row.json, row.text), row.expected) << row.json;
}

TEST(PreTokenizer, EachKind) {
  struct Row {
    const char* json;
    const char* text;
    Strings expected;
  };
  const Row table[] = {
      {R"({"type":"ByteLevel","add_prefix_space":true})",
       "it's 12\n\n x",
       {"\u0120it", "'s", "\u012012", "\u010a\u010a", "\u0120x"}},
      {R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})", "a b", {"a\u0120b"}},
      {R"({"type":"Whitespace"})", "Hey, you?! ok_1", {"Hey", ",", "you", "?!", "ok_1"}},
      {R"({"type":"WhitespaceSplit"})", " Hey, you\n", {"Hey,", "you"}},
      {R"({"type":"BertPreTokenizer"})", "a,b  c", {"a", ",", "b", "c"}},
      {R"({"type":"Digits","individual_digits":false})", "a12b", {"a", "12", "b"}},
      {R"({"type":"Digits","individual_digits":true})", "a12b", {"a", "1", "2", "b"}},
      {R"({"type":"Punctuation","behavior":"Removed"})", "a.b", {"a", "b"}},
      {R"({"type":"Metaspace","replacement":"_","prepend_scheme":"always"})", "a b", {"_a", "_b"}},
      {R"({"type":"Metaspace","replacement":"_","prepend_scheme":"never","split":false})",
       "a b",
       {"a_b"}},
      {R"({"type":"Split","pattern":{"String":"-"},"behavior":"MergedWithNext","invert":false})",
       "a-b",
       {"a", "-b"}},
  };
  for (const Row& row : table)
    EXPECT_EQ(pre_tokenized(row.json, row.text), row.expected) << row.json;
}

TEST(Decoder, EachKind) {
  struct Row {
    const char* json;
    Strings tokens;
    Strings expected;
  };
  const Row table[] = {
      {R"({"type":"ByteLevel"})", {"\u0120a\u010a", "x y"}, {" a\n", "x y"}},
      {R"({"type":"WordPiece","prefix":"##","cleanup":true})",
       {"do", "##n", "'t", "."},
       {"do", "n", " 't", "."}},
      {R"({"type":"Metaspace","replacement":"_"})", {"_a", "_b"}, {"a", " b"}},
      {R"({"type":"BPEDecoder","suffix":"</w>"})", {"a</w>", "b</w>"}, {"a ", "b"}},
      {R"({"type":"ByteFallback"})",
       {"<0x61>", "x", "<0xFF>", "<0x61>", "x"},
       {"a", "x", "\ufffd", "\ufffd", "x"}},
      {R"({"type":"ByteFallback"})", {"<0xE2>", "<0x82>"}, {"\xe2\x82"}},
      {R"({"type":"ByteFallback"})", {"<0xZZ>", "<0x+1>"}, {"<0xZZ>", "<0x+1>"}},
      {R"({"type":"Fuse"})", {"a", "b"}, {"ab"}},
      {R"({"type":"Strip","content":" ","start":1,"stop":0})", {"  a "}, {" a "}},
  };
  for (const Row& row : table) EXPECT_EQ(decoded(row.json, row.tokens), row.expected) << row.json;
}

TEST(PostProcessor, FramesTheIds) {
  const Frame frame = make_frame(parse_json(R"({"type":"Sequence","processors":[
      {"type":"ByteLevel","trim_offsets":false,"add_prefix_space":true},
      {"type":"TemplateProcessing","pair":[],
       "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
                 {"SpecialToken":{"id":"</s>","type_id":0}}],
       "special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]},
                         "</s>":{"id":"</s>","ids":[2,3],"tokens":["</s>","x"]}}}]})",
                                            "t"),
                                 "t");
  EXPECT_EQ(frame.before, std::vector<TokenId>{1});
  EXPECT_EQ(frame.after, (std::vector<TokenId>{2, 3}));
  const Frame roberta = make_frame(
      parse_json(
          R"({"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",0],"trim_offsets":true,
          "add_prefix_space":false})",
          "t"),
      "t");
  EXPECT_EQ(roberta.before, std::vector<TokenId>{0});
  EXPECT_EQ(roberta.after, std::vector<TokenId>{2});
}

TEST(Components, UnknownTypesAndOptionsAreNamed) {
  const auto normalizer = [](const char* json) { normalized(json, "a"); };
  const auto pre_tokenizer = [](const char* json) { pre_tokenized(json, "a"); };
  EXPECT_TALPA_ERROR(normalizer(R"({"type":"Nonsense"})"), kUnsupported, "\"Nonsense\"");
  EXPECT_TALPA_ERROR(normalizer(R"({"type":"NFC","form":2})"), kUnsupported, "\"form\"");
  EXPECT_TALPA_ERROR(pre_tokenizer(R"({"type":"UnicodeScripts"})"), kUnsupported, "UnicodeScripts");
  EXPECT_TALPA_ERROR(pre_tokenizer(R"({"type":"Digits","individual_digits":1})"), kFormat,
                     "individual_digits");
  EXPECT_TALPA_ERROR(decoded(R"({"type":"CTC"})", {}), kUnsupported, "CTC");
  EXPECT_TALPA_ERROR(
      pre_tokenizer(R"({"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"No"}]})"),
      kUnsupported, "pre_tokenizer.pretokenizers[1]");
  EXPECT_TALPA_ERROR(normalizer(R"({"type":"Precompiled","precompiled_charsmap":"AAAA!"})"),
                     kFormat, "base64");
  EXPECT_TALPA_ERROR(normalizer(R"({"type":"Precompiled","precompiled_charsmap":"/////wAAAAA="})"),
                     kFormat, "trie");
}

}  // namespace
}  // namespace talpa::text
