#pragma once

#include <httplib.h>

#include <memory>
#include <string>
#include <thread>

#include "talpa/base/log.h"
#include "talpa/serve/http_server.h"
#include "talpa/serve/service.h"

namespace talpa::testing {

inline constexpr const char* kTestTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

struct ServedOptions {
  SchedulerOptions scheduler{.parallel = 8};
  std::string api_key, cors_origin;
  serve::HttpLimits limits{.body_bytes = 100000, .patience = std::chrono::seconds(2)};
  bool with_template = true;
};

/// The reference MoE behind a server on a free port of this machine.
class ServedModel {
 public:
  explicit ServedModel(const ServedOptions& options = {})
      : service_(reference_moe(), {"moe", 0, options.scheduler}, template_of(options)),
        server_(
            serve::Router(serve::routes_of(service_),
                          {options.api_key, options.cors_origin, "127.0.0.1"}, service_.metrics),
            options.limits),
        port_(server_.bind("127.0.0.1", 0)),
        thread_([this] { server_.run(); }) {}
  ~ServedModel() {
    service_.scheduler.stop();
    server_.stop();
    thread_.join();
  }

  static const LoadedModel& reference_moe() {
    start_log(-1);
    static const LoadedModel loaded = load_model(
        std::filesystem::path(TALPA_SOURCE_DIR) / "models/reference-moe", {.threads = 2});
    return loaded;
  }

  int port() const { return port_; }
  Scheduler& scheduler() { return service_.scheduler; }
  serve::HttpServer& server() { return server_; }

  struct Answer {
    int status = 0;
    Json json;
    std::string body;
    httplib::Headers headers;
  };
  Answer get(const std::string& path, const httplib::Headers& headers = {}) const {
    return answer_of(client().Get(path, headers));
  }
  Answer post(const std::string& path, const std::string& body,
              const httplib::Headers& headers = {}) const {
    return answer_of(client().Post(path, headers, body, "application/json"));
  }
  Answer post(const std::string& path, const Json& body) const { return post(path, body.dump()); }

  httplib::Client client() const {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(20);
    return client;
  }

 private:
  static std::optional<serve::ServedTemplate> template_of(const ServedOptions& options) {
    if (!options.with_template) return std::nullopt;
    return serve::ServedTemplate{kTestTemplate, chat::ChatTemplate(kTestTemplate), {}};
  }
  static Answer answer_of(const httplib::Result& result) {
    if (!result) return {};
    return {result->status, Json::parse(result->body, nullptr, false), result->body,
            result->headers};
  }

  serve::Service service_;
  serve::HttpServer server_;
  int port_;
  std::thread thread_;
};

/// The objects of a stream of server-sent events; the last must be [DONE].
inline std::vector<Json> events_of(const std::string& body) {
  std::vector<Json> events;
  std::size_t at = 0;
  bool done = false;
  for (std::size_t end; (end = body.find("\n\n", at)) != std::string::npos; at = end + 2) {
    const std::string line = body.substr(at, end - at);
    EXPECT_TRUE(line.starts_with("data: ")) << line;
    EXPECT_FALSE(done);
    if (line == "data: [DONE]")
      done = true;
    else
      events.push_back(Json::parse(line.substr(6)));
  }
  EXPECT_TRUE(done);
  return events;
}

}  // namespace talpa::testing
