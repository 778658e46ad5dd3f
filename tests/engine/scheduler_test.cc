#include "talpa/engine/scheduler.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/random_model.h"

namespace talpa::testing {
namespace {

using std::chrono::milliseconds;

const LoadedModel& reference_moe() {
  static const LoadedModel loaded =
      load_model(std::filesystem::path(TALPA_SOURCE_DIR) / "models/reference-moe", {.threads = 2});
  return loaded;
}

CompletionRequest request_of(int length, std::uint64_t seed, int max_tokens = 24) {
  CompletionRequest request;
  request.prompt = random_tokens(length, seed, 4096);
  request.generate.max_tokens = max_tokens;
  request.generate.ignore_eos = true;
  request.generate.sampler = {.temperature = 1, .top_k = 50, .top_p = 0.95, .seed = seed};
  return request;
}

struct Outcome {
  std::string text, error;
  std::vector<TokenLogprob> prompt, tokens;
  std::optional<FinishReason> finish;
  CompletionUsage usage;
};

std::vector<Outcome> wait(Completions& completions, std::size_t count) {
  std::vector<Outcome> outcomes(count);
  while (!completions.finished()) {
    auto event = completions.next(milliseconds(20000));
    if (!event) break;
    Outcome& o = outcomes[event->index];
    o.text += event->text;
    for (auto& t : event->prompt) o.prompt.push_back(std::move(t));
    for (auto& t : event->tokens) o.tokens.push_back(std::move(t));
    if (!event->is_last()) continue;
    o.finish = event->finish;
    o.error = event->error;
    o.usage = event->usage;
  }
  return outcomes;
}

std::vector<Outcome> run(Scheduler& scheduler, std::vector<CompletionRequest> requests) {
  const std::size_t count = requests.size();
  return wait(*scheduler.submit(std::move(requests)), count);
}

/// What every test of one request among others compares with.
std::string text_alone(const CompletionRequest& request) {
  return generate(reference_moe(), request.prompt, request.generate).text;
}

TEST(SchedulerTest, ARequestsTextDoesNotDependOnTheOthers) {
  std::vector<CompletionRequest> requests;
  for (int i = 0; i < 32; ++i) requests.push_back(request_of(1 + 17 * i % 300, 100 + i, 8 + i));
  for (CompletionRequest& request : requests) request.logprobs = 0;
  Scheduler alone(reference_moe(), {.parallel = 1});
  Scheduler together(reference_moe(), {.parallel = 32, .step_tokens = 70});
  const auto outcomes = run(together, requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(outcomes[i].text, text_alone(requests[i])) << i;
    EXPECT_EQ(outcomes[i].usage.generated_tokens, requests[i].generate.max_tokens);
    if (i % 8 != 0) continue;
    const Outcome o = run(alone, {requests[i]})[0];
    ASSERT_EQ(o.tokens.size(), outcomes[i].tokens.size());
    for (std::size_t t = 0; t < o.tokens.size(); ++t)  // to the last bit
      EXPECT_EQ(o.tokens[t].logprob, outcomes[i].tokens[t].logprob) << i << " token " << t;
  }
}

/// log softmax of the model's logits behind each token.
std::vector<double> expected_scores(const std::vector<TokenId>& tokens) {
  KvCache cache(*reference_moe().model, static_cast<int>(tokens.size()));
  const SequenceInput input{&cache, tokens, LogitsWanted::kAll};
  const std::vector<float> logits = reference_moe().model->forward({&input, 1});
  std::vector<double> scores;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    const std::span<const float> row(logits.data() + i * 4096, 4096);
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x));
    scores.push_back(row[static_cast<std::size_t>(tokens[i + 1])] - std::log(sum));
  }
  return scores;
}

TEST(SchedulerTest, ScoresPromptsInParts) {
  // 11 rows of logits and 30 tokens a step, five prompts.
  Scheduler scheduler(reference_moe(),
                      {.parallel = 4, .step_tokens = 30, .logit_bytes = 11 * 4096 * 4});
  std::vector<CompletionRequest> requests;
  for (int i = 0; i < 5; ++i) {
    requests.push_back(request_of(40 + i, 7 + i, i % 2));
    requests.back().logprobs = 3;
    requests.back().score_prompt = true;
  }
  const auto outcomes = run(scheduler, requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const Outcome& o = outcomes[i];
    ASSERT_EQ(o.prompt.size(), requests[i].prompt.size());
    EXPECT_EQ(o.tokens.size(), i % 2);
    const auto expected = expected_scores(requests[i].prompt);
    for (std::size_t t = 0; t < o.prompt.size(); ++t) {
      EXPECT_EQ(o.prompt[t].token, requests[i].prompt[t]);
      if (t == 0) continue;
      EXPECT_NEAR(o.prompt[t].logprob, expected[t - 1], 1e-4);
      ASSERT_EQ(o.prompt[t].top.size(), 3u);
      EXPECT_GE(o.prompt[t].top[0].second, o.prompt[t].top[1].second);
      EXPECT_LE(o.prompt[t].logprob, o.prompt[t].top[0].second);
    }
  }
}

/// Greedy tokens are the first of the most likely, by the very same number.
TEST(SchedulerTest, TellsLogProbabilitiesOfGreedyTokens) {
  Scheduler scheduler(reference_moe(), {.parallel = 4});
  CompletionRequest request = request_of(20, 3, 12);
  request.generate.sampler = {};
  request.logprobs = 2;
  const Outcome o = run(scheduler, {request})[0];
  ASSERT_EQ(o.tokens.size(), 12u);
  for (const TokenLogprob& t : o.tokens) {
    EXPECT_EQ(t.token, t.top[0].first);
    EXPECT_EQ(t.logprob, t.top[0].second);
  }
}

TEST(SchedulerTest, AnEndOfTextTokenIsScoredButNotTold) {
  Scheduler scheduler(reference_moe(), {.parallel = 1});
  CompletionRequest request = request_of(5, 3, 30);
  request.generate.ignore_eos = false;
  request.generate.sampler = {.logit_bias = {{.token = 0, .bias = 100}}};
  request.logprobs = 1;
  const Outcome o = run(scheduler, {request})[0];
  EXPECT_EQ(o.text, "");
  EXPECT_EQ(o.finish, FinishReason::kStop);
  ASSERT_EQ(o.tokens.size(), 1u);
  EXPECT_EQ(o.tokens[0].token, 0);
}

/// A prompt of many parts does not hold up a sequence that generates.
TEST(SchedulerTest, OthersGoOnWhileALongPromptIsRead) {
  Scheduler scheduler(reference_moe(), {.parallel = 2, .step_tokens = 8});
  auto completions = scheduler.submit({request_of(900, 1, 1), request_of(4, 2, 60)});
  const auto first = [&] {
    while (auto event = completions->next(milliseconds(20000)))
      if (event->is_last()) return event->index;
    return std::size_t{99};
  }();
  EXPECT_EQ(first, 1u);
  completions->cancel();
}

/// A long list of one client leaves room for another's request.
TEST(SchedulerTest, GroupsTakeTurns) {
  Scheduler scheduler(reference_moe(), {.parallel = 1});
  std::vector<CompletionRequest> many;
  for (int i = 0; i < 40; ++i) many.push_back(request_of(200, i, 10));
  auto list = scheduler.submit(many);
  auto single = scheduler.submit({request_of(5, 99, 2)});
  EXPECT_TRUE(wait(*single, 1)[0].finish);
  EXPECT_GT(scheduler.stats().waiting, 10u);
  list->cancel();
}

TEST(SchedulerTest, CancelledRequestsMakeRoom) {
  Scheduler scheduler(reference_moe(), {.parallel = 2});
  std::vector<CompletionRequest> many(12, request_of(10, 1, 900));
  auto list = scheduler.submit(many);
  list->next(milliseconds(20000));
  list->cancel();
  const Outcome o = run(scheduler, {request_of(5, 4, 3)})[0];
  EXPECT_EQ(o.finish, FinishReason::kLength);
  EXPECT_EQ(scheduler.stats().waiting, 0u);
}

TEST(SchedulerTest, RefusesWhatItCannotCarryOut) {
  Scheduler scheduler(reference_moe(), {.parallel = 1, .context = 64, .queue = 3});
  EXPECT_THROW(scheduler.submit({request_of(60, 1, 5)}), Error);
  EXPECT_THROW(scheduler.submit({CompletionRequest{}}), Error);
  CompletionRequest bad = request_of(4, 1, 2);
  bad.prompt[2] = 4096;
  EXPECT_THROW(scheduler.submit({bad}), Error);
  bad = request_of(4, 1, 2);
  bad.generate.sampler.temperature = NAN;
  EXPECT_THROW(scheduler.submit({bad}), Error);
  EXPECT_THROW(scheduler.submit(std::vector(4, request_of(4, 1, 2))), Error);
  auto waiting = scheduler.submit(std::vector(3, request_of(4, 1, 60)));
  EXPECT_THROW(scheduler.submit(std::vector(3, request_of(4, 1, 60))), QueueFull);
  wait(*waiting, 3);
  EXPECT_THROW(Scheduler(reference_moe(), {.parallel = 0}), Error);
  EXPECT_EQ(run(scheduler, {request_of(59, 1, 5)})[0].finish, FinishReason::kLength);
}

TEST(SchedulerTest, DrainingFinishesWhatWasTaken) {
  Scheduler scheduler(reference_moe(), {.parallel = 2});
  auto completions = scheduler.submit(std::vector(6, request_of(30, 1, 20)));
  scheduler.drain();
  EXPECT_THROW(scheduler.submit({request_of(4, 1, 2)}), Draining);
  for (const Outcome& o : wait(*completions, 6)) EXPECT_EQ(o.finish, FinishReason::kLength);
  while (!scheduler.idle()) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(scheduler.stats().kv_bytes, 0u);
}

/// Log-probabilities of all tokens, to be compared to the last bit.
std::vector<float> numbers_of(const Outcome& outcome) {
  std::vector<float> numbers;
  for (const TokenLogprob& t : outcome.tokens) numbers.push_back(t.logprob);
  return numbers;
}

TEST(SchedulerTest, ASharedPrefixChangesNoBit) {
  Scheduler shared(reference_moe(), {.parallel = 3});
  Scheduler plain(reference_moe(), {.parallel = 3, .prefix_bytes = 0});
  const auto beginning = random_tokens(300, 5, 4096);
  for (const int length : {0, 1, 40, 84, 85, 86, 300}) {
    CompletionRequest request = request_of(std::max(length, 1), 60 + length, 150);
    if (length == 0) request.prompt.clear();
    request.prompt.insert(request.prompt.begin(), beginning.begin(), beginning.end());
    request.logprobs = 0;
    const auto with = run(shared, {request, request}), without = run(plain, {request});
    EXPECT_EQ(with[0].usage.cached_tokens, length == 0 ? 0 : 256);
    EXPECT_EQ(without[0].usage.cached_tokens, 0);
    for (const Outcome& o : with) EXPECT_EQ(numbers_of(o), numbers_of(without[0])) << length;
  }
  EXPECT_GT(shared.stats().prefix_bytes, 0u);
  EXPECT_EQ(plain.stats().prefix_bytes, 0u);
}

/// A chat's next turn finds the tokens of the answer too.
TEST(SchedulerTest, TheNextTurnFindsTheAnswer) {
  Scheduler scheduler(reference_moe(), {.parallel = 1});
  CompletionRequest request = request_of(100, 8, 200);
  request.logprobs = 0;
  const Outcome first = run(scheduler, {request})[0];
  for (const TokenLogprob& t : first.tokens) request.prompt.push_back(t.token);
  EXPECT_EQ(run(scheduler, {request})[0].usage.cached_tokens, 256);
}

TEST(SchedulerTest, CountsTokensAndExpertRows) {
  Scheduler scheduler(reference_moe(), {.parallel = 4});
  run(scheduler, {request_of(30, 1, 5), request_of(20, 2, 7)});
  while (!scheduler.idle()) std::this_thread::sleep_for(milliseconds(1));
  const SchedulerStats stats = scheduler.stats();
  EXPECT_EQ(stats.prompt_tokens, 50u);
  EXPECT_EQ(stats.generated_tokens, 12u);
  ASSERT_EQ(stats.routing.rows_per_expert.size(), 5u);
  std::int64_t rows = 0;
  for (const auto count : stats.routing.rows_per_expert[0]) rows += count;
  EXPECT_EQ(rows, 2 * (50 + 12 - 2));  // top 2; the last token of each is not fed
}

}  // namespace
}  // namespace talpa::testing
