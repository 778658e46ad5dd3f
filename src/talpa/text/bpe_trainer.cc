#include "talpa/text/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "talpa/base/error.h"
#include "talpa/text/byte_level.h"
#include "talpa/text/pre_tokenizer.h"
#include "talpa/text/string_map.h"
#include "talpa/text/unicode.h"

namespace talpa {

using text::StringMap;

namespace {

using Pair = std::pair<std::int32_t, std::int32_t>;

std::uint64_t key_of(Pair pair) {
  return static_cast<std::uint64_t>(pair.first) << 32 | static_cast<std::uint32_t>(pair.second);
}
Pair pair_of(std::uint64_t key) {
  return {static_cast<std::int32_t>(key >> 32), static_cast<std::int32_t>(key & 0xffffffff)};
}

struct KeyHash {
  std::size_t operator()(std::uint64_t key) const {
    return static_cast<std::size_t>((key ^ key >> 29) * 0x9e3779b97f4a7c15ULL >> 7);
  }
};

/// A pair of symbols: how often it stands in the corpus, and in which words it may.
struct PairState {
  std::int64_t count = 0;
  std::vector<std::uint32_t> words;
};

struct Word {
  std::vector<std::int32_t> symbols;
  std::int64_t count = 0;
};

/// Most frequent first, then lower ids.
struct Candidate {
  std::int64_t count;
  std::uint64_t pair;
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

Json pre_tokenizer_json() {
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Digits"}, {"individual_digits", true}},
            {{"type", "ByteLevel"},
             {"add_prefix_space", false},
             {"trim_offsets", true},
             {"use_regex", true}}}}};
}

/// Learns merges from counted words.
class MergeLearner {
 public:
  MergeLearner(const BpeTrainerConfig& config, const StringMap<std::int64_t>& counts)
      : config_(config) {
    for (const std::string& token : config.special_tokens) id_for(token);
    // In order of code points, which is the order of UTF-8 strings.
    auto alphabet = text::byte_characters();
    std::sort(alphabet.begin(), alphabet.end());
    for (const std::string& character : alphabet) id_for(character);
    add_words(counts);
    for (std::uint32_t w = 0; w < words_.size(); ++w) {
      const Word& word = words_[w];
      for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i)
        change({word.symbols[i], word.symbols[i + 1]}, w, word.count);
    }
    queue_touched();
  }

  void learn(const std::function<void(std::int64_t, std::int64_t)>& progress) {
    const auto total = static_cast<std::int64_t>(config_.vocab_size) - vocab_size();
    const auto first = vocab_size();
    while (vocab_size() < config_.vocab_size && !queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      PairState& state = pairs_[best.pair];
      if (state.count != best.count) {
        if (state.count > 0) queue_.push({state.count, best.pair});
        continue;
      }
      if (best.count < std::max(config_.min_frequency, 1)) break;
      merge(best.pair);
      if (progress) progress(vocab_size() - first, total);
    }
  }

  Json vocab() const {
    Json json = Json::object();
    for (std::size_t id = 0; id < tokens_.size(); ++id) json[tokens_[id]] = id;
    return json;
  }
  const Json& merges() const { return merges_; }

 private:
  int vocab_size() const { return static_cast<int>(tokens_.size()); }

  std::int32_t id_for(const std::string& token) {
    const auto [found, added] = ids_.try_emplace(token, vocab_size());
    if (added) tokens_.push_back(token);
    return found->second;
  }

  void add_words(const StringMap<std::int64_t>& counts) {
    std::vector<const std::pair<const std::string, std::int64_t>*> sorted;
    for (const auto& entry : counts) sorted.push_back(&entry);
    std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->first < b->first; });
    for (const auto* entry : sorted) {
      Word word{{}, entry->second};
      const std::string_view text = entry->first;
      for (std::size_t i = 0; i < text.size();) {
        const auto size = static_cast<std::size_t>(text::character_size(text, i));
        word.symbols.push_back(ids_.at(std::string(text.substr(i, size))));
        i += size;
      }
      words_.push_back(std::move(word));
    }
  }

  void change(Pair pair, std::uint32_t word, std::int64_t by) {
    PairState& state = pairs_[key_of(pair)];
    state.count += by;
    if (by < 0) return;
    if (state.words.empty() || state.words.back() != word) state.words.push_back(word);
    touched_.push_back(key_of(pair));
  }

  /// Pairs that have become more frequent are entered anew; stale entries are seen when popped.
  void queue_touched() {
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
    for (const std::uint64_t key : touched_)
      if (const std::int64_t count = pairs_[key].count; count > 0) queue_.push({count, key});
    touched_.clear();
  }

  void merge(std::uint64_t key) {
    const Pair pair = pair_of(key);
    const auto& left = tokens_[static_cast<std::size_t>(pair.first)];
    const auto& right = tokens_[static_cast<std::size_t>(pair.second)];
    merges_.push_back(Json::array({left, right}));
    const std::int32_t merged = id_for(left + right);
    const std::vector<std::uint32_t> words = std::move(pairs_[key].words);
    pairs_[key] = {};
    for (const std::uint32_t w : words) merge_in_word(w, pair, merged);
    queue_touched();
  }

  void merge_in_word(std::uint32_t w, Pair pair, std::int32_t merged) {
    auto& symbols = words_[w].symbols;
    const std::int64_t count = words_[w].count;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const bool hit =
          i + 1 < symbols.size() && symbols[i] == pair.first && symbols[i + 1] == pair.second;
      if (!hit) {
        symbols[kept++] = symbols[i];
        continue;
      }
      if (kept > 0) {
        change({symbols[kept - 1], pair.first}, w, -count);
        change({symbols[kept - 1], merged}, w, count);
      }
      if (i + 2 < symbols.size()) {
        change({pair.second, symbols[i + 2]}, w, -count);
        change({merged, symbols[i + 2]}, w, count);
      }
      symbols[kept++] = merged;
      ++i;
    }
    symbols.resize(kept);
  }

  const BpeTrainerConfig& config_;
  std::vector<std::string> tokens_;
  StringMap<std::int32_t> ids_;
  std::vector<Word> words_;
  std::unordered_map<std::uint64_t, PairState, KeyHash> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<std::uint64_t> touched_;
  Json merges_ = Json::array();
};

Json added_tokens_json(const std::vector<std::string>& tokens) {
  Json list = Json::array();
  for (const std::string& token : tokens)
    list.push_back({{"id", list.size()},
                    {"content", token},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", true}});
  return list;
}

Json model_json(Json vocab, Json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

}  // namespace

void BpeTrainerConfig::validate(const std::string& path) const {
  const auto least = static_cast<int>(special_tokens.size()) + 256;
  if (vocab_size < least || vocab_size > 1'000'000)
    fail(ErrorCode::kConfig, "{}: {} is outside {} (256 bytes and {} special tokens) to 1000000",
         detail::join(path, "vocab_size"), vocab_size, least, special_tokens.size());
  if (min_frequency < 1)
    fail(ErrorCode::kConfig, "{}: {} is less than 1", detail::join(path, "min_frequency"),
         min_frequency);
  auto sorted = special_tokens;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end() ||
      (!sorted.empty() && sorted.front().empty()))
    fail(ErrorCode::kConfig, "{}: an empty or repeated token",
         detail::join(path, "special_tokens"));
}

struct BpeTrainer::State {
  std::unique_ptr<const text::PreTokenizer> pre_tokenizer =
      text::make_pre_tokenizer(pre_tokenizer_json(), "pre_tokenizer");
  StringMap<std::int64_t> counts;
};

BpeTrainer::BpeTrainer(BpeTrainerConfig config)
    : config_(std::move(config)), state_(std::make_unique<State>()) {
  config_.validate("");
}

BpeTrainer::~BpeTrainer() = default;

void BpeTrainer::add(std::string_view text) {
  std::vector<text::Piece> pieces;
  if (text.empty()) return;
  state_->pre_tokenizer->split({text::valid_utf8(text), true}, pieces);
  for (text::Piece& piece : pieces) ++state_->counts[std::move(piece.text)];
}

Json BpeTrainer::train(const std::function<void(std::int64_t, std::int64_t)>& progress) {
  MergeLearner learner(config_, state_->counts);
  learner.learn(progress);
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens_json(config_.special_tokens)},
          {"normalizer", nullptr},
          {"pre_tokenizer", pre_tokenizer_json()},
          {"post_processor", nullptr},
          {"decoder",
           {{"type", "ByteLevel"},
            {"add_prefix_space", true},
            {"trim_offsets", true},
            {"use_regex", true}}},
          {"model", model_json(learner.vocab(), learner.merges())}};
}

}  // namespace talpa
