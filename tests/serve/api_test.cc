#include <gtest/gtest.h>

#include <cmath>

#include "serve/served_model.h"

namespace talpa::testing {
namespace {

const char* const kCompletions = "/v1/completions";
const char* const kChats = "/v1/chat/completions";

const ServedModel& served() {
  static const ServedModel served;
  return served;
}

Json choices_of(const ServedModel::Answer& answer) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  return answer.status == 200 ? answer.json["choices"] : Json::array();
}

const Json kMessages = {{{"role", "user"}, {"content", "Once upon a time"}}};

TEST(CompletionsTest, TextListsAndTokensGiveTheSame) {
  const auto& tokenizer = *ServedModel::reference_moe().tokenizer;
  const std::string a = "The city of", b = "In the year";
  const Json ids = {tokenizer.encode(a), tokenizer.encode(b)};
  const Json rest = {{"max_tokens", 9}, {"temperature", 0}};
  auto with = [&](const Json& prompt) {
    Json body = rest;
    body["prompt"] = prompt;
    return choices_of(served().post(kCompletions, body));
  };
  const Json both = with({a, b});
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0]["finish_reason"], "length");
  EXPECT_EQ(both[0]["text"], with(a)[0]["text"]);
  EXPECT_EQ(both[1]["text"], with(b)[0]["text"]);
  EXPECT_EQ(with(ids), both);
  EXPECT_EQ(with(ids[1])[0]["text"], both[1]["text"]);
}

/// What lm-eval's local-completions sends, and what it takes from the answer.
TEST(CompletionsTest, EchoWithLogprobsIsPromptPlusOne) {
  const Json prompt = {{301, 45, 17, 1200, 88}, {400, 7}};
  const auto answer = served().post(kCompletions, {{"prompt", prompt},
                                                   {"model", "any"},
                                                   {"temperature", 0},
                                                   {"max_tokens", 1},
                                                   {"logprobs", 1},
                                                   {"seed", 1234},
                                                   {"echo", true}});
  const Json choices = choices_of(answer);
  ASSERT_EQ(choices.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    const Json& logprobs = choices[i]["logprobs"];
    const std::size_t count = prompt[i].size() + 1;
    for (const char* key : {"tokens", "token_logprobs", "top_logprobs", "text_offset"})
      EXPECT_EQ(logprobs[key].size(), count) << key;
    EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
    const Json& last = logprobs["top_logprobs"][count - 1];
    EXPECT_EQ(logprobs["token_logprobs"][count - 1], *last.begin());  // greedy
    for (std::size_t t = 1; t < count; ++t) {
      float best = -INFINITY;
      for (const auto& [text, value] : logprobs["top_logprobs"][t].items())
        best = std::max(best, value.get<float>());
      EXPECT_LE(logprobs["token_logprobs"][t].get<float>(), best);
    }
  }
  EXPECT_EQ(answer.json["usage"]["prompt_tokens"], 7);
}

TEST(CompletionsTest, ScoresWithoutGenerating) {
  const Json body = {
      {"prompt", "The river runs"}, {"max_tokens", 0}, {"logprobs", 0}, {"echo", true}};
  const Json choice = choices_of(served().post(kCompletions, body))[0];
  EXPECT_EQ(choice["text"], "The river runs");
  const auto count = ServedModel::reference_moe().tokenizer->encode("The river runs").size();
  EXPECT_EQ(choice["logprobs"]["token_logprobs"].size(), count);
}

TEST(CompletionsTest, StreamedTextIsTheWholeText) {
  Json body = {{"prompt", {"The city of", "A long"}},
               {"max_tokens", 12},
               {"seed", 7},
               {"n", 2},
               {"echo", true},
               {"logprobs", 2}};
  const Json whole = choices_of(served().post(kCompletions, body));
  ASSERT_EQ(whole.size(), 4u);
  EXPECT_NE(whole[0]["text"], whole[1]["text"]);  // each answer has a seed of its own
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  std::vector<std::string> texts(4);
  std::vector<Json> numbers(4, Json::array());
  const auto events = events_of(served().post(kCompletions, body).body);
  for (const Json& event : events)
    for (const Json& choice : event["choices"]) {
      const auto i = choice["index"].get<std::size_t>();
      texts[i] += choice["text"].get<std::string>();
      for (const Json& n : choice["logprobs"]["token_logprobs"]) numbers[i].push_back(n);
    }
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(texts[i], whole[i]["text"]);
    EXPECT_EQ(numbers[i], whole[i]["logprobs"]["token_logprobs"]);
  }
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 48);
}

TEST(CompletionsTest, StopsBeforeTheStopString) {
  Json body = {{"prompt", "The city of"}, {"max_tokens", 40}, {"temperature", 0}};
  const auto text = choices_of(served().post(kCompletions, body))[0]["text"].get<std::string>();
  const std::string stop = text.substr(text.size() / 2, 5);
  body["stop"] = {"never to be seen", stop};
  const Json choice = choices_of(served().post(kCompletions, body))[0];
  EXPECT_EQ(choice["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(choice["finish_reason"], "stop");
}

TEST(CompletionsTest, BiasDecides) {
  const auto token = ServedModel::reference_moe().tokenizer->encode("x", false).front();
  const Json body = {
      {"prompt", "a"}, {"max_tokens", 3}, {"logit_bias", {{std::to_string(token), 100}}}};
  EXPECT_EQ(choices_of(served().post(kCompletions, body))[0]["text"], "xxx");
}

TEST(ChatTest, AnswersWholeAndStreamed) {
  Json body = {{"messages", kMessages}, {"max_completion_tokens", 10}, {"seed", 3},
               {"logprobs", true},      {"top_logprobs", 2},           {"user", "ignored"}};
  const Json choice = choices_of(served().post(kChats, body))[0];
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["logprobs"]["content"].size(), 10u);
  EXPECT_EQ(choice["logprobs"]["content"][3]["top_logprobs"].size(), 2u);
  body["stream"] = true;
  std::string text;
  const auto events = events_of(served().post(kChats, body).body);
  EXPECT_EQ(events.front()["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events.front()["object"], "chat.completion.chunk");
  for (const Json& event : events) text += event["choices"][0]["delta"].value("content", "");
  EXPECT_EQ(text, choice["message"]["content"]);
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "length");
}

TEST(ChatTest, PartsOfTextAreOneText) {
  const Json parts = {{{"type", "text"}, {"text", "Once upon "}},
                      {{"type", "text"}, {"text", "a time"}}};
  Json body = {{"messages", kMessages}, {"max_tokens", 5}, {"temperature", 0}};
  const Json expected = choices_of(served().post(kChats, body));
  body["messages"][0]["content"] = parts;
  EXPECT_EQ(choices_of(served().post(kChats, body)), expected);
}

TEST(TokensTest, ThereAndBack) {
  const std::string text = "Grüße, world 🦡";
  const auto ids = served().post("/tokenize", {{"prompt", text}, {"add_special_tokens", false}});
  const auto back = served().post("/detokenize", {{"tokens", ids.json["tokens"]}});
  EXPECT_EQ(back.json["prompt"], text);
  EXPECT_EQ(served().get("/tokenizer_info").json["eos_token"], "<|endoftext|>");
}

TEST(StateTest, TellsModelsAndMetrics) {
  const Json models = served().get("/v1/models").json;
  EXPECT_EQ(models["data"][0]["id"], "moe");
  EXPECT_EQ(served().get("/v1/models/moe").json["object"], "model");
  EXPECT_EQ(served().get("/health").json["status"], "ok");
  served().post(kCompletions, {{"prompt", "a"}, {"max_tokens", 2}});
  const std::string text = served().get("/metrics").body;
  for (const char* name :
       {"talpa_http_requests_total{path=\"/v1/completions\",status=\"200\"}",
        "talpa_generated_tokens_total", "talpa_requests_waiting 0", "talpa_kv_bytes",
        "talpa_first_token_seconds_bucket{le=\"+Inf\"}", "talpa_completion_seconds_count",
        "talpa_expert_rows_total{layer=\"4\",expert=\"15\"}"})
    EXPECT_NE(text.find(name), std::string::npos) << name;
  EXPECT_EQ(served().get("/experts").json["layers"].size(), 5u);
  EXPECT_NE(served().get("/").body.find("<!doctype html>"), std::string::npos);
}

struct Refusal {
  const char* path;
  std::string body;
  int status;
  std::string param;
};

TEST(RefusalTest, EveryBadFieldIsNamed) {
  const std::string p = R"({"prompt":"a",)", m = R"({"messages":[{"role":"user","content":"a"}],)";
  const std::vector<Refusal> refusals = {
      {kCompletions, "", 400, ""},
      {kCompletions, "[]", 400, ""},
      {kCompletions, "{\"prompt\":\"\xff\"}", 400, ""},
      {kCompletions, p + R"("temperature":NaN})", 400, ""},
      {kCompletions, p + R"("temperature":1e999})", 400, ""},
      {kCompletions, std::string(5000, '['), 400, ""},
      {kCompletions, "{\"x\":" + std::string(100, '[') + std::string(100, ']') + "}", 400, ""},
      {kCompletions, p + R"("temperature":"hot"})", 400, "temperature"},
      {kCompletions, p + R"("temperature":-0.1})", 400, "temperature"},
      {kCompletions, p + R"("top_p":0})", 400, "top_p"},
      {kCompletions, p + R"("top_k":-2})", 400, "top_k"},
      {kCompletions, p + R"("min_p":2})", 400, "min_p"},
      {kCompletions, p + R"("presence_penalty":3})", 400, "presence_penalty"},
      {kCompletions, p + R"("n":0})", 400, "n"},
      {kCompletions, p + R"("n":9999999999999})", 400, "n"},
      {kCompletions, p + R"("n":1.5})", 400, "n"},
      {kCompletions, p + R"("max_tokens":-1})", 400, "max_tokens"},
      {kCompletions, p + R"("max_tokens":99999999999999999999})", 400, "max_tokens"},
      {kCompletions, p + R"("max_tokens":5000})", 400, ""},
      {kCompletions, p + R"("stop":[""]})", 400, "stop"},
      {kCompletions, p + R"("stop":7})", 400, "stop"},
      {kCompletions, p + R"("logit_bias":{"x":1}})", 400, "logit_bias"},
      {kCompletions, p + R"("logit_bias":{"5000":1}})", 400, "logit_bias"},
      {kCompletions, p + R"("logit_bias":{"5":1000}})", 400, "logit_bias"},
      {kCompletions, p + R"("logprobs":21})", 400, "logprobs"},
      {kCompletions, p + R"("logprobs":true})", 400, "logprobs"},
      {kCompletions, p + R"("stream":1})", 400, "stream"},
      {kCompletions, p + R"("stream_options":{"include_usage":"yes"}})", 400,
       "stream_options.include_usage"},
      {kCompletions, p + R"("best_of":3})", 400, "best_of"},
      {kCompletions, p + R"("suffix":"b"})", 400, "suffix"},
      {kCompletions, p + R"("response_format":{"type":"xml"}})", 400, "response_format"},
      {kCompletions, p + R"("response_format":"json_object"})", 400, "response_format"},
      {kCompletions, p + R"("response_format":{"type":7}})", 400, "response_format.type"},
      {kCompletions, "{}", 400, "prompt"},
      {kCompletions, R"({"prompt":""})", 400, "prompt"},
      {kCompletions, R"({"prompt":[]})", 400, "prompt"},
      {kCompletions, R"({"prompt":[[1],"a",[]]})", 400, "prompt"},
      {kCompletions, R"({"prompt":[1,4096]})", 400, "prompt"},
      {kCompletions, R"({"prompt":[-1]})", 400, "prompt"},
      {kCompletions, R"({"prompt":[1.5]})", 400, "prompt"},
      {kChats, "{}", 400, "messages"},
      {kChats, R"({"messages":[]})", 400, "messages"},
      {kChats, R"({"messages":[{"content":"a"}]})", 400, "messages"},
      {kChats, R"({"messages":[{"role":"user","content":7}]})", 400, "messages"},
      {kChats, R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})", 400,
       "messages"},
      {kChats, m + R"("top_logprobs":2})", 400, "top_logprobs"},
      {kChats, m + R"("response_format":{"type":"json_schema"}})", 400, "response_format"},
      {kChats, m + R"("tools":{}})", 400, "tools"},
      {"/tokenize", "{}", 400, "prompt"},
      {"/detokenize", R"({"tokens":[99999]})", 400, "tokens"},
      {"/detokenize", R"({"tokens":"a"})", 400, "tokens"},
      {"/nothing", "{}", 404, ""},
      {"/v1/models", "{}", 405, ""},
  };
  for (const Refusal& r : refusals) {
    const auto answer = served().post(r.path, r.body);
    ASSERT_EQ(answer.status, r.status) << r.path << " " << r.body.substr(0, 80) << answer.body;
    const Json& error = answer.json["error"];
    EXPECT_EQ(error["type"], "invalid_request_error");
    EXPECT_FALSE(error["message"].get<std::string>().empty());
    EXPECT_EQ(error["param"], r.param.empty() ? Json() : Json(r.param)) << r.body.substr(0, 80);
  }
}

/// The signs that end things are made likely, or a small model would hardly end an object.
Json json_request(const Json& more) {
  const auto& tokenizer = *ServedModel::reference_moe().tokenizer;
  Json body = {{"temperature", 2},
               {"seed", 11},
               {"max_tokens", 150},
               {"response_format", {{"type", "json_object"}}},
               {"logit_bias", Json::object()}};
  for (const char* sign : {"\"", "}", "]", ":"})
    body["logit_bias"][std::to_string(tokenizer.id_of(sign).value())] = 9;
  body.update(more);
  return body;
}

std::string streamed_text(const ServedModel::Answer& answer, const Json::json_pointer& where) {
  std::string text;
  for (const Json& event : events_of(answer.body))
    for (const Json& choice : event["choices"])
      if (choice.contains(where)) text += choice[where].get<std::string>();
  return text;
}

TEST(JsonModeTest, EndsWithAnObjectOrByLength) {
  const Json choices = choices_of(served().post(
      kCompletions, json_request({{"prompt", "Data: "}, {"n", 16}, {"logprobs", 2}})));
  int ended = 0;
  for (const Json& choice : choices) {
    const auto text = choice["text"].get<std::string>();
    const bool stop = choice["finish_reason"] == "stop";
    EXPECT_EQ(Json::accept(text), stop) << text;
    EXPECT_FALSE(choice["logprobs"]["tokens"].empty());
    ended += stop ? 1 : 0;
  }
  EXPECT_EQ(choices.size(), 16u);
  EXPECT_GT(ended, 2);
}

TEST(JsonModeTest, StreamsWhatItGivesWhole) {
  const Json chat = json_request({{"messages", kMessages}, {"ignore_eos", true}});
  const Json prompt = json_request({{"prompt", "Data: "}});
  const auto whole = choices_of(served().post(kChats, chat))[0]["message"]["content"];
  EXPECT_EQ(whole, choices_of(served().post(kChats, chat))[0]["message"]["content"]);
  EXPECT_EQ(whole.get<std::string>().find_first_not_of(" \n\t\r"),
            whole.get<std::string>().find('{'));
  Json streamed = chat;
  streamed["stream"] = true;
  EXPECT_EQ(whole,
            streamed_text(served().post(kChats, streamed), Json::json_pointer("/delta/content")));
  streamed = prompt;
  streamed["stream"] = true;
  EXPECT_EQ(choices_of(served().post(kCompletions, prompt))[0]["text"],
            streamed_text(served().post(kCompletions, streamed), Json::json_pointer("/text")));
}

TEST(JsonModeTest, StopStringsCutIt) {
  const Json body = json_request({{"prompt", "Data: "}, {"stop", ":"}});
  const Json choice = choices_of(served().post(kCompletions, body))[0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["text"].get<std::string>().find(':'), std::string::npos);
}

TEST(JsonModeTest, TextIsTheDefault) {
  Json body = {{"prompt", "Data: "}, {"seed", 3}, {"max_tokens", 12}};
  const Json text = choices_of(served().post(kCompletions, body))[0]["text"];
  body["response_format"] = {{"type", "text"}};
  EXPECT_EQ(choices_of(served().post(kCompletions, body))[0]["text"], text);
}

TEST(RefusalTest, TooLongAPromptHasItsCode) {
  const auto answer = served().post(kCompletions, {{"prompt", std::vector<int>(2000, 5)}});
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.json["error"]["code"], "context_length_exceeded");
}

/// Refused by its bytes: to tokenize it would take long.
TEST(RefusalTest, TooLongATextIsNotTokenized) {
  const ServedModel large({.limits = {.body_bytes = 8 << 20}});
  const std::string text(4 << 20, ' ');
  for (const auto& [path, body] :
       {std::pair<const char*, Json>{kCompletions, {{"prompt", text}}},
        {"/tokenize", {{"prompt", text}}},
        {kChats, {{"messages", {{{"role", "user"}, {"content", text}}}}}}}) {
    const auto answer = large.post(path, body);
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.json["error"]["code"], "context_length_exceeded") << path;
  }
}

TEST(RefusalTest, ObjectsOfVeryManyKeys) {
  Json body = {{"prompt", "a"}};
  for (int i = 0; i < 2000; ++i) body["logit_bias"][std::to_string(i)] = 1;
  EXPECT_EQ(served().post(kCompletions, body).status, 400);
}

TEST(RefusalTest, ChatsNeedATemplate) {
  const ServedModel plain({.with_template = false});
  const auto answer = plain.post(kChats, {{"messages", kMessages}});
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("--chat-template"), std::string::npos);
}

}  // namespace
}  // namespace talpa::testing
