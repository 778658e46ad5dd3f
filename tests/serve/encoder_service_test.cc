#include "talpa/serve/encoder_service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "scratch.h"
#include "talpa/serve/api_error.h"
#include "talpa/serve/router.h"

namespace talpa::testing {
namespace {

using serve::EncoderService;
using serve::HttpRequest;

const LoadedEncoder& golden_encoder() {
  static const LoadedEncoder loaded = load_encoder(golden("encoder/bert"), {.threads = 2});
  return loaded;
}

/// What a request with this body is answered.
struct EncoderAnswer {
  int status = 0;
  Json json;
};

EncoderAnswer ask(EncoderService& service, const std::string& method, const std::string& path,
                  const Json& body = Json::object()) {
  const serve::Router router(routes_of(service), {}, service.metrics);
  const HttpRequest request{.method = method, .path = path, .body = body.dump()};
  if (auto refused = router.refuse(request))
    return {refused->status, Json::parse(refused->body, nullptr, false)};
  const serve::HttpReply reply = router.answer(request);
  return {reply.status, Json::parse(reply.body, nullptr, false)};
}

TEST(EncoderServiceTest, AnswersWhatAnEncoderCan) {
  EncoderService service(golden_encoder(), {.model_name = "bert"});
  const Json expected = read_json(golden("encoder/bert/expected.json"));
  const auto answer = ask(service, "POST", "/v1/embeddings", {{"input", expected["texts"]}});
  ASSERT_EQ(answer.status, 200) << answer.json;
  for (std::size_t i = 0; i < expected["texts"].size(); ++i)
    for (std::size_t k = 0; k < 48; ++k)
      EXPECT_NEAR(answer.json["data"][i]["embedding"][k], expected["mean"][i][k], 2e-6);
  const Json model = ask(service, "GET", "/v1/models").json["data"][0];
  EXPECT_EQ(model["id"], "bert");
  EXPECT_EQ(model["meta"]["embedding_dim"], 48);
  EXPECT_EQ(ask(service, "GET", "/v1/models/bert").status, 200);
  EXPECT_EQ(ask(service, "GET", "/health").json["status"], "ok");
  EXPECT_EQ(ask(service, "POST", "/tokenize", {{"prompt", expected["texts"][0]}}).json["tokens"],
            expected["ids"][0]);
}

TEST(EncoderServiceTest, RefusesWhatItCannot) {
  EncoderService service(golden_encoder(), {.model_name = "bert", .context = 100});
  for (const char* path : {"/v1/completions", "/v1/chat/completions"}) {
    const auto answer = ask(service, "POST", path, {{"prompt", "a"}});
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.json["error"]["code"], "model_not_supported");
  }
  EXPECT_EQ(ask(service, "GET", "/experts").status, 404);
  const Json longer = std::vector<int>(101, 7);
  const auto refused = ask(service, "POST", "/v1/embeddings", {{"input", longer}});
  EXPECT_EQ(refused.json["error"]["code"], "context_length_exceeded");
  EXPECT_EQ(ask(service, "POST", "/v1/embeddings", {{"input", {320}}}).status, 400);
}

/// The text is cut before its last token, which the encoder was trained to see.
TEST(EncoderServiceTest, CutsTextsBeforeTheirEnd) {
  EncoderService service(golden_encoder(), {.model_name = "bert", .context = 20});
  std::string text;
  for (int i = 0; i < 60; ++i) text += "the mole ";
  auto tokens = golden_encoder().tokenizer->encode(text);
  const TokenId end = tokens.back();
  tokens.resize(20);
  tokens.back() = end;
  const auto cut = ask(service, "POST", "/v1/embeddings", {{"input", text}, {"truncate", true}});
  const auto whole = ask(service, "POST", "/v1/embeddings", {{"input", tokens}});
  ASSERT_EQ(cut.status, 200) << cut.json;
  EXPECT_EQ(cut.json["data"], whole.json["data"]);
}

TEST(EncoderServiceTest, RequestsTakeTurnsAndKeepTheirVectors) {
  EncoderService service(golden_encoder(), {.model_name = "bert"});
  const auto ids = read_json(golden("encoder/bert/expected.json"))["ids"]
                       .get<std::vector<std::vector<TokenId>>>();
  const auto expected = golden_encoder().encoder->embed(ids);
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int round = 0; round < 10; ++round)
        good += service.embed({ids[t % 6], ids[5]}, {}) ==
                std::vector<std::vector<float>>{expected[t % 6], expected[5]};
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 80);
  EXPECT_TRUE(service.idle());
  EXPECT_EQ(service.stats().steps, 80u);
}

TEST(EncoderServiceTest, AClientThatWentAwayEndsItsRequest) {
  EncoderService service(golden_encoder(), {.model_name = "bert"});
  int asked = 0;
  const HttpRequest leaves{.client_gone = [&] { return ++asked > 2; }};
  const std::vector<std::vector<TokenId>> texts(100, std::vector<TokenId>(150, 9));
  EXPECT_THROW(service.embed(texts, leaves), serve::ApiError);
  EXPECT_EQ(service.stats().steps, 3u);
  EXPECT_TRUE(service.idle());
}

TEST(EncoderServiceTest, AFullQueueAndAnEndAreTold) {
  EncoderService service(golden_encoder(), {.model_name = "bert", .queue = 1});
  const HttpRequest waits{.client_gone = [&] {  // a second one comes while the first is at work
    const auto second = ask(service, "POST", "/v1/embeddings", {{"input", "a"}});
    EXPECT_EQ(second.status, 429);
    return false;
  }};
  EXPECT_EQ(service.embed({{1, 2}}, waits).size(), 1u);
  service.drain();
  EXPECT_EQ(ask(service, "POST", "/v1/embeddings", {{"input", "a"}}).status, 503);
  EXPECT_EQ(ask(service, "GET", "/health").status, 503);
}

TEST(EncoderServiceTest, StoppingEndsWhatWasTaken) {
  EncoderService service(golden_encoder(), {.model_name = "bert"});
  const HttpRequest stops{.client_gone = [&] {
    service.stop();
    return false;
  }};
  EXPECT_THROW(service.embed({{1, 2}}, stops), Draining);
}

}  // namespace
}  // namespace talpa::testing
