#include "talpa/task/lm/corpus.h"

#include <fstream>
#include <limits>
#include <numeric>

#include "talpa/base/log.h"
#include "talpa/base/progress.h"
#include "talpa/base/random.h"

namespace talpa::lm {

namespace fs = std::filesystem;

namespace {

struct Header {
  char magic[8] = {'t', 'a', 'l', 'p', 'a', 'i', 'd', '1'};
  std::int64_t num_bytes = 0;
};

std::uint64_t fnv(std::string_view bytes, std::uint64_t hash = 0xcbf29ce484222325ULL) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

std::uint64_t hash_of(const fs::path& file, std::uint64_t hash) {
  const MappedFile mapped(file);
  const auto bytes = mapped.bytes();
  return fnv({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, hash);
}

void encode_documents(const fs::path& jsonl, const Tokenizer& tokenizer, TokenId end_token,
                      const fs::path& target) {
  if (tokenizer.vocab_size() > std::numeric_limits<std::uint16_t>::max() + 1)
    fail(ErrorCode::kUnsupported, "a vocabulary of {} does not fit 16-bit ids",
         tokenizer.vocab_size());
  std::ifstream in(jsonl);
  if (!in) fail(ErrorCode::kNotFound, "cannot open {}", jsonl.string());
  const auto total = static_cast<std::int64_t>(fs::file_size(jsonl));
  Progress progress(fmt::format("encoding {}", jsonl.filename().string()), total);
  std::vector<std::uint16_t> ids;
  Header header;
  std::string line;
  for (std::int64_t number = 1, read = 0; std::getline(in, line); ++number) {
    read += static_cast<std::int64_t>(line.size()) + 1;
    const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.contains("text") || !row["text"].is_string())
      fail(ErrorCode::kFormat, "{}:{}: expected an object with a string \"text\"", jsonl.string(),
           number);
    const std::string& text = row["text"].get_ref<const std::string&>();
    header.num_bytes += static_cast<std::int64_t>(text.size());
    for (const TokenId id : tokenizer.encode(text, /*add_special=*/false, /*parse_special=*/false))
      ids.push_back(static_cast<std::uint16_t>(id));
    ids.push_back(static_cast<std::uint16_t>(end_token));
    progress.update(read);
  }
  AtomicFile out(target);
  out.write(std::as_bytes(std::span(&header, 1)));
  out.write(std::as_bytes(std::span(ids)));
  out.commit();
}

fs::path cached_ids(const fs::path& jsonl, const fs::path& tokenizer_json, TokenId end_token,
                    const fs::path& cache) {
  const std::uint64_t hash =
      hash_of(jsonl, hash_of(tokenizer_json, fnv(std::to_string(end_token))));
  const fs::path target = cache / fmt::format("{}-{:016x}.ids", jsonl.stem().string(), hash);
  if (!fs::exists(target)) {
    fs::create_directories(cache);
    encode_documents(jsonl, *Tokenizer::from_file(tokenizer_json), end_token, target);
  }
  return target;
}

}  // namespace

TokenStream::TokenStream(const fs::path& jsonl, const fs::path& tokenizer_json, TokenId end_token,
                         const fs::path& cache_directory)
    : file_(cached_ids(jsonl, tokenizer_json, end_token, cache_directory)) {
  const auto bytes = file_.bytes();
  const Header* header = reinterpret_cast<const Header*>(bytes.data());
  if (bytes.size() < sizeof(Header) || std::string_view(header->magic, 8) != "talpaid1" ||
      bytes.size() % 2 != 0)
    fail(ErrorCode::kFormat, "{} is not a cache of ids; remove it", file_.path().string());
  num_bytes_ = header->num_bytes;
  ids_ = {reinterpret_cast<const std::uint16_t*>(bytes.data() + sizeof(Header)),
          (bytes.size() - sizeof(Header)) / 2};
}

WindowOrder::WindowOrder(std::int64_t num_ids, int window, std::uint64_t seed,
                         const std::string& source)
    : num_windows_((num_ids - 1) / window), window_(window), seed_(seed) {
  if (num_windows_ < 1)
    fail(ErrorCode::kConfig, "{}: {} tokens are fewer than one window of {} + 1", source, num_ids,
         window);
}

std::int64_t WindowOrder::start(std::int64_t index) {
  const std::int64_t epoch = index / num_windows_;
  if (epoch != epoch_) {
    epoch_ = epoch;
    order_.resize(static_cast<std::size_t>(num_windows_));
    std::iota(order_.begin(), order_.end(), 0);
    Random random(seed_ + static_cast<std::uint64_t>(epoch), "windows");
    for (std::size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[random.below(i)]);
  }
  return static_cast<std::int64_t>(order_[static_cast<std::size_t>(index % num_windows_)]) *
         window_;
}

}  // namespace talpa::lm
