#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/served_model.h"

namespace talpa::testing {
namespace {

using std::chrono::milliseconds;

/// Bytes to a server and back, whatever they are.
class RawClient {
 public:
  /// Who takes in few bytes soon has the server wait.
  explicit RawClient(int port, int receive_bytes = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_bytes > 0)
      setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval patience{10, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~RawClient() { close(socket_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void send(const std::string& bytes) { ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  /// What comes until `end` or until the server closes.
  std::string read_until(const std::string& end) {
    std::string text;
    char buffer[4096];
    while (text.find(end) == std::string::npos) {
      const ssize_t count = recv(socket_, buffer, sizeof buffer, 0);
      if (count <= 0) break;
      text.append(buffer, static_cast<std::size_t>(count));
    }
    return text;
  }
  std::string read_all() { return read_until("\xff\xff"); }

 private:
  int socket_;
};

std::string post_of(const std::string& body, const std::string& headers = {}) {
  return "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

const std::string kEndless = R"({"prompt":"a","max_tokens":1000,"ignore_eos":true,"stream":true})";

void wait_until(const std::function<bool()>& happens) {
  for (int i = 0; i < 2000 && !happens(); ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_TRUE(happens());
}

TEST(ServerTest, AsksForTheKey) {
  const ServedModel served({.api_key = "secret"});
  EXPECT_EQ(served.get("/health").status, 200);
  EXPECT_EQ(served.get("/").status, 200);
  for (const char* value : {"", "Bearer", "Bearer secre", "Bearer secret2", "secret"}) {
    const auto answer =
        served.post("/v1/completions", R"({"prompt":"a"})", {{"Authorization", value}});
    EXPECT_EQ(answer.status, 401) << value;
    EXPECT_EQ(answer.json["error"]["code"], "invalid_api_key");
  }
  EXPECT_EQ(served.get("/metrics").status, 401);
  EXPECT_EQ(served.get("/v1/models", {{"Authorization", "Bearer secret"}}).status, 200);
}

TEST(ServerTest, OtherSitesOnlyWhenAsked) {
  const ServedModel closed, open({.cors_origin = "https://a.example"});
  EXPECT_EQ(closed.get("/v1/models").headers.count("Access-Control-Allow-Origin"), 0u);
  EXPECT_EQ(closed.client().Options("/v1/completions")->status, 405);
  const auto answer = open.client().Options("/v1/completions");
  EXPECT_EQ(answer->status, 204);
  EXPECT_EQ(answer->get_header_value("Access-Control-Allow-Origin"), "https://a.example");
}

Json error_of(const std::string& raw) {
  const std::size_t body = raw.find("\r\n\r\n");
  if (body == std::string::npos) return {};
  return Json::parse(raw.substr(body + 4), nullptr, false).value("error", Json());
}

/// A name of someone else's that is made to point here comes in the head as it is.
TEST(ServerTest, OtherNamesAreRefusedOnThisMachine) {
  const ServedModel served, known({.cors_origin = "https://proxy.example"});
  auto status = [&](const ServedModel& server, const std::string& host) {
    return server.get("/v1/models", {{"Host", host}}).status;
  };
  for (const char* host : {"localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:1", "[::1]:8080"})
    EXPECT_EQ(status(served, host), 200) << host;
  for (const char* host : {"evil.example", "evil.example:8080", "localhost.evil.example",
                           "127.0.0.1.x", "[::2]", "[::1", "x:localhost", "192.168.1.1"}) {
    const auto answer = served.get("/v1/models", {{"Host", host}});
    EXPECT_EQ(answer.status, 403) << host;
    EXPECT_EQ(answer.json["error"]["code"], "forbidden_origin") << host;
  }
  EXPECT_EQ(status(known, "proxy.example"), 200);
  EXPECT_EQ(status(known, "evil.example"), 403);
}

TEST(ServerTest, PostsOfOtherSitesAreRefused) {
  const ServedModel closed, open({.cors_origin = "https://a.example"}), all({.cors_origin = "*"});
  auto status = [&](const ServedModel& server, const std::string& origin) {
    return server.post("/tokenize", R"({"prompt":"a"})", {{"Origin", origin}}).status;
  };
  const std::string own = "http://127.0.0.1:" + std::to_string(closed.port());
  EXPECT_EQ(status(closed, own), 200);
  for (const char* origin :
       {"https://a.example", "null", "http://127.0.0.1:1", "http://127.0.0.1"}) {
    EXPECT_EQ(status(closed, origin), 403) << origin;
    EXPECT_EQ(status(all, origin), 200) << origin;
  }
  EXPECT_EQ(status(open, "https://a.example"), 200);
  EXPECT_EQ(status(open, "https://b.example"), 403);
}

TEST(ServerTest, MoreConnectionsThanMayWaitAreTurnedAway) {
  const ServedModel served({.limits = {.patience = std::chrono::seconds(2), .connections = 2}});
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 66; ++i) {
    idle.push_back(std::make_unique<RawClient>(served.port()));
    idle.back()->send("GET /health");  // half a request keeps its place
  }
  RawClient more(served.port());
  const std::string answer = more.read_all();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 ")) << answer;
  EXPECT_EQ(error_of(answer)["code"], "too_many_connections");
  EXPECT_NE(answer.find("\r\nRetry-After: "), std::string::npos);
  idle.clear();
  int status = 503;  // until the server has seen that they are gone
  for (int look = 0; look < 200 && status == 503; ++look) {
    std::this_thread::sleep_for(milliseconds(50));
    status = served.get("/health").status;
  }
  EXPECT_EQ(status, 200);
}

/// Who never reads may hold the end up no longer than it was given.
TEST(ServerTest, SlowReadersAreCutAtTheEnd) {
  auto served = std::make_unique<ServedModel>(
      ServedOptions{.limits = {.patience = std::chrono::seconds(60)}});
  RawClient reader(served->port(), 4096);
  std::string pages;
  for (int i = 0; i < 900; ++i) pages += "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  reader.send(pages);
  std::this_thread::sleep_for(milliseconds(500));
  const auto start = std::chrono::steady_clock::now();
  served->server().stop(start + milliseconds(500));
  served.reset();  // waits for run()
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(ServerTest, LargeBodiesAre413) {
  const ServedModel served;
  const std::string large(150000, 'a');
  EXPECT_EQ(served.post("/v1/completions", large).status, 413);
  RawClient chunked(served.port());  // whose head does not tell how long it gets
  chunked.send("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 40; ++i) chunked.send("2000\r\n" + std::string(0x2000, 'a') + "\r\n");
  EXPECT_TRUE(chunked.read_all().starts_with("HTTP/1.1 413"));
}

TEST(ServerTest, LongHeadsAreRefused) {
  const ServedModel served;
  RawClient client(served.port());
  client.send("GET /health HTTP/1.1\r\n");
  for (int i = 0; i < 30; ++i) client.send("X: " + std::string(4000, 'a') + "\r\n");
  client.send("\r\n");  // without a bound this would be a good request
  EXPECT_FALSE(client.read_all().starts_with("HTTP/1.1 200"));
  EXPECT_EQ(served.get("/health").status, 200);
}

TEST(ServerTest, AmbiguousLengthsAreRefused) {
  const ServedModel served;
  const std::string body = R"({"prompt":"a"})";
  for (const char* extra :
       {"Transfer-Encoding: chunked\r\n", "Content-Length: 3\r\n",
        "Transfer-Encoding: identity\r\n", "Content-Length: -5\r\n", "Host: evil.example\r\n"}) {
    RawClient client(served.port());
    client.send(post_of(body, extra));
    const std::string answer = client.read_all();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << extra;
    EXPECT_EQ(error_of(answer)["type"], "invalid_request_error") << extra << answer;
  }
}

TEST(ServerTest, HalfABodyIsGivenUp) {
  const ServedModel served;
  RawClient client(served.port());
  client.send("POST /v1/completions HTTP/1.1\r\nContent-Length: 500\r\n\r\n{\"prompt\":");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(client.read_all().starts_with("HTTP/1.1 400"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
}

TEST(ServerTest, PackedBodiesAndPartsAreNotUnpacked) {
  const ServedModel served;
  for (const httplib::Headers& headers : {httplib::Headers{{"Content-Encoding", "gzip"}},
                                          httplib::Headers{{"Content-Encoding", "br"}}})
    EXPECT_EQ(served.post("/v1/completions", std::string("\x1f\x8b\x08\0\0", 5), headers).status,
              400);
  EXPECT_EQ(served.client()
                .Post("/v1/completions", {}, "--x\r\n\r\n", "multipart/form-data; boundary=x")
                ->status,
            400);
  EXPECT_EQ(served.get("/health", {{"Range", "bytes=0-1"}}).status, 200);
}

TEST(ServerTest, AClientThatGoesEndsItsRequest) {
  ServedModel served({.scheduler = {.parallel = 1}});
  for (const bool stream : {true, false}) {
    Json body = Json::parse(kEndless);
    body["stream"] = stream;
    auto client = std::make_unique<RawClient>(served.port());
    client->send(post_of(body.dump()));
    wait_until([&] { return served.scheduler().stats().running == 1; });
    client.reset();
    wait_until([&] { return served.scheduler().idle(); });
  }
  EXPECT_LT(served.scheduler().stats().generated_tokens, 1900u);
}

TEST(ServerTest, AFullQueueIs429) {
  ServedModel served({.scheduler = {.parallel = 1, .queue = 2}});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<RawClient>(served.port()));
    clients.back()->send(post_of(kEndless));
    wait_until([&] { return served.scheduler().stats().running == 1; });
  }
  wait_until([&] { return served.scheduler().stats().waiting == 2; });
  const auto answer = served.post("/v1/completions", Json{{"prompt", "a"}, {"max_tokens", 2}});
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.json["error"]["code"], "queue_full");
  EXPECT_EQ(answer.headers.count("Retry-After"), 1u);
  EXPECT_EQ(served.post("/v1/completions", Json{{"prompt", "a"}, {"n", 3}}).status, 400);  // never
}

TEST(ServerTest, DrainingFinishesStreamsAndRefusesTheRest) {
  ServedModel served({.scheduler = {.parallel = 2}});
  RawClient client(served.port());
  client.send(post_of(kEndless, "Connection: close\r\n"));
  wait_until([&] { return served.scheduler().stats().running == 1; });
  served.scheduler().drain();
  EXPECT_EQ(served.get("/health").status, 503);
  const auto answer = served.post("/v1/completions", Json{{"prompt", "a"}});
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.json["error"]["code"], "shutting_down");
  EXPECT_NE(client.read_until("[DONE]").find("[DONE]"), std::string::npos);
}

TEST(ServerTest, ManyRequestsOnOneConnection) {
  const ServedModel served;
  auto client = served.client();
  client.set_keep_alive(true);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(client.Get("/health")->status, 200);
}

/// Correct requests give the text that they give alone, whatever others send meanwhile.
TEST(ServerTest, BrokenRequestsDoNotDisturbTheOthers) {
  const ServedModel served({.scheduler = {.parallel = 8, .queue = 512}});
  auto text_of = [&](int i) {
    return served
        .post("/v1/completions",
              {{"prompt", "The number " + std::to_string(i)}, {"seed", i}, {"max_tokens", 20}})
        .json["choices"][0]["text"];
  };
  std::vector<Json> alone;
  for (int i = 0; i < 8; ++i) alone.push_back(text_of(i));
  std::atomic<bool> done{false};
  std::thread broken([&] {
    for (int i = 0; !done; ++i) {
      RawClient client(served.port());
      if (i % 4 == 0) client.send(post_of(kEndless));
      if (i % 4 == 1) client.send(post_of("{\"prompt\":\"\xff\"}"));
      if (i % 4 == 2) client.send("POST /v1/completions HTTP/1.1\r\nContent-Length: 99\r\n\r\n{");
      if (i % 4 == 3) client.send(std::string(3000, '\0'));
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 10; ++round) EXPECT_EQ(text_of(i), alone[i]);
    });
  for (auto& thread : threads) thread.join();
  done = true;
  broken.join();
}

}  // namespace
}  // namespace talpa::testing
