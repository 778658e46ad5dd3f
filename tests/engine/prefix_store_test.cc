#include "talpa/engine/prefix_store.h"

#include <gtest/gtest.h>

#include "engine/random_model.h"

namespace talpa::testing {
namespace {

class PrefixStoreTest : public ::testing::Test {
 protected:
  PrefixStoreTest() : loaded_(random_model(small_config(Family::kLlama), scratch_)) {}

  std::uint64_t chunk_bytes() {
    KvCache cache(*loaded_.model, 1000);
    feed(cache, random_tokens(1, 1));
    return cache.bytes();
  }
  void feed(KvCache& cache, const std::vector<TokenId>& tokens) {
    const SequenceInput input{&cache, tokens, LogitsWanted::kNone};
    loaded_.model->forward({&input, 1});
  }
  void keep(PrefixStore& store, const std::vector<TokenId>& tokens) {
    KvCache cache(*loaded_.model, 1000);
    feed(cache, tokens);
    store.keep(tokens, cache);
  }
  int found(PrefixStore& store, const std::vector<TokenId>& tokens) {
    KvCache cache(*loaded_.model, 1000);
    const int length = store.load(tokens, cache);
    EXPECT_EQ(cache.length(), length);
    return length;
  }

  Scratch scratch_;
  LoadedModel loaded_;
};

TEST_F(PrefixStoreTest, FindsWholeChunksOfTheSameBeginning) {
  PrefixStore store(1 << 30);
  const auto a = random_tokens(400, 1);
  keep(store, a);
  EXPECT_EQ(store.bytes(), 3 * chunk_bytes());
  EXPECT_EQ(found(store, a), 384);
  auto b = a;
  b[200] += b[200] == 0 ? 1 : -1;
  EXPECT_EQ(found(store, b), 128);
  EXPECT_EQ(found(store, {a.begin(), a.begin() + 256}), 128);  // something is left to be fed
  EXPECT_EQ(found(store, {a.begin(), a.begin() + 257}), 256);
  EXPECT_EQ(found(store, random_tokens(400, 2)), 0);
  keep(store, b);
  EXPECT_EQ(store.bytes(), 5 * chunk_bytes());  // the first chunk is one
}

TEST_F(PrefixStoreTest, GivesUpWhatWasUsedLongestAgo) {
  PrefixStore store(4 * chunk_bytes());
  const auto a = random_tokens(260, 1), b = random_tokens(260, 2), c = random_tokens(140, 3);
  keep(store, a);
  keep(store, b);
  EXPECT_EQ(found(store, a), 256);
  keep(store, c);
  EXPECT_EQ(store.bytes(), 4 * chunk_bytes());
  EXPECT_EQ(found(store, a), 256);
  EXPECT_EQ(found(store, b), 128);  // its end went first
  EXPECT_EQ(found(store, c), 128);
}

TEST_F(PrefixStoreTest, KeepsNothingBeyondItsBound) {
  PrefixStore none(0), little(chunk_bytes() + 1);
  keep(none, random_tokens(300, 1));
  EXPECT_EQ(none.bytes(), 0u);
  keep(little, random_tokens(900, 1));
  EXPECT_EQ(little.bytes(), chunk_bytes());
}

TEST_F(PrefixStoreTest, ATruncatedCacheLeavesSharedChunksAsTheyAre) {
  PrefixStore store(1 << 30);
  const auto a = random_tokens(256, 1);
  KvCache cache(*loaded_.model, 1000);
  feed(cache, a);
  store.keep(a, cache);
  const std::byte* kept = cache.layers().chunks[0][0].data();
  const std::vector<std::byte> before(kept, kept + 1024);
  cache.truncate(50);
  feed(cache, random_tokens(78, 9));
  EXPECT_EQ(std::vector<std::byte>(kept, kept + 1024), before);
}

}  // namespace
}  // namespace talpa::testing
