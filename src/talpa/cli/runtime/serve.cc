#include <malloc.h>

#include <thread>

#include "talpa/base/error.h"
#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/cli/chat_source.h"
#include "talpa/cli/interrupt.h"
#include "talpa/cli/model_options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/serve/encoder_service.h"
#include "talpa/serve/http_server.h"
#include "talpa/serve/service.h"

namespace talpa::cli {

namespace {

constexpr int kMaxServedContext = 8192;        ///< where none is asked for: memory is taken by it
constexpr std::chrono::seconds kLastWords{2};  ///< for telling clients that the rest is dropped

struct ServeOptions : CommonOptions, ModelOptions {
  std::string host = "127.0.0.1";
  int port = 8080;
  std::string alias, api_key, cors_origin, chat_template;
  SchedulerOptions scheduler;
  int max_tokens_default = 0;
  int prefix_cache = 256;
  int connections = 256;
  int max_body = 16, timeout = 30, drain = 60;
};

std::optional<serve::ServedTemplate> template_of(const ServeOptions& options,
                                                 const LoadedModel& loaded) {
  ChatSource source;
  try {
    source = chat_source_of(loaded, options.chat_template);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound || !options.chat_template.empty()) throw;
    log::warn("{}: /v1/chat/completions needs --chat-template", error.what());
    return std::nullopt;
  }
  chat::ChatTemplate parsed(source.chat_template);
  return serve::ServedTemplate{std::move(source.chat_template), std::move(parsed),
                               std::move(source.options)};
}

std::string model_name(const ServeOptions& options) {
  return !options.alias.empty() ? options.alias
                                : std::filesystem::canonical(options.model).filename().string();
}

serve::ServiceOptions service_options(const ServeOptions& options, const LoadedModel& loaded) {
  serve::ServiceOptions service{.model_name = model_name(options),
                                .max_tokens_default = options.max_tokens_default,
                                .scheduler = options.scheduler};
  service.scheduler.prefix_bytes = static_cast<std::uint64_t>(options.prefix_cache) << 20;
  if (service.scheduler.context == 0)
    service.scheduler.context = std::min(loaded.model->config().max_positions, kMaxServedContext);
  warn_beyond_positions(loaded, service.scheduler.context, "--ctx-size");
  return service;
}

/// Takes no new work once a signal came, and stops the server when the old is done. `scheduler`: a
/// Scheduler or what ends as it does.
template <class Work>
void wait_for_signal(const std::atomic<bool>& interrupted, int drain_seconds, Work& scheduler,
                     serve::HttpServer& server) {
  using std::chrono::milliseconds;
  while (!interrupted.load(std::memory_order_relaxed))
    std::this_thread::sleep_for(milliseconds(50));
  log::info("shutting down: finishing what was accepted");
  scheduler.drain();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(drain_seconds);
  while (!scheduler.idle() && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(milliseconds(20));
  if (!scheduler.idle()) log::warn("not finished in {} s: the rest is dropped", drain_seconds);
  scheduler.stop();
  server.stop(std::max(end, std::chrono::steady_clock::now() + kLastWords));
}

/// Large bodies of many threads would each stay with an arena of the allocator's.
void bound_allocator() {
  mallopt(M_ARENA_MAX, 4);
  mallopt(M_MMAP_THRESHOLD, 8 << 20);
  mallopt(M_TRIM_THRESHOLD, 16 << 20);
}

/// Answers until a signal ends it. `limits`: what the log says of the service behind its address.
template <class Work>
void answer_requests(const ServeOptions& options, serve::Router router, Work& work,
                     const std::string& name, const std::string& limits) {
  serve::HttpServer server(std::move(router),
                           {.body_bytes = static_cast<std::size_t>(options.max_body) << 20,
                            .patience = std::chrono::seconds(options.timeout),
                            .connections = options.connections});
  const int port = server.bind(options.host, options.port);
  log::info("{} at http://{}:{} ({})", name, options.host, port, limits);
  const std::atomic<bool>& interrupted = catch_interrupts();
  std::thread waiter([&] { wait_for_signal(interrupted, options.drain, work, server); });
  server.run();
  waiter.join();
  log::info("stopped");
}

void serve_encoder(const ServeOptions& options) {
  if (!options.chat_template.empty() || options.max_tokens_default > 0)
    log::warn("{} is an encoder: settings of chats and completions are not used", options.model);
  options.scheduler.validate();
  const LoadedEncoder loaded = load_encoder(options.model, engine_options(options, options));
  serve::EncoderService service(loaded, {.model_name = model_name(options),
                                         .context = options.scheduler.context,
                                         .queue = options.scheduler.queue});
  serve::Router router(serve::routes_of(service),
                       {options.api_key, options.cors_origin, options.host}, service.metrics);
  answer_requests(options, std::move(router), service, service.options.model_name,
                  fmt::format("encoder, context {}", service.text.context));
}

void run(const ServeOptions& options) {
  bound_allocator();
  if (is_encoder(options.model)) return serve_encoder(options);
  const LoadedModel loaded = load_model(options.model, engine_options(options, options));
  tokenizer_of(loaded);
  serve::Service service(loaded, service_options(options, loaded), template_of(options, loaded));
  serve::Router router(serve::routes_of(service),
                       {options.api_key, options.cors_origin, options.host}, service.metrics);
  answer_requests(options, std::move(router), service.scheduler, service.options.model_name,
                  fmt::format("context {}, {} at once", service.scheduler.context(),
                              options.scheduler.parallel));
}

void add_network_options(CLI::App& app, ServeOptions& options) {
  constexpr const char* kGroup = "Network";
  auto count = [&](const char* name, int& value, const char* help) {
    return app.add_option(name, value, help)->check(positive_number())->group(kGroup);
  };
  app.add_option("--host", options.host, "Address to listen on")->group(kGroup);
  app.add_option("--port", options.port, "Port, 0 = a free one, which the log tells")
      ->check(CLI::Range(0, 65535))
      ->group(kGroup);
  app.add_option("--api-key", options.api_key, "Key that requests must bring (or in TALPA_API_KEY)")
      ->envname("TALPA_API_KEY")
      ->group(kGroup);
  app.add_option("--cors-origin", options.cors_origin,
                 "Let pages of this origin call the server, * = all")
      ->group(kGroup);
  count("--connections", options.connections, "Connections at once; 64 more wait")
      ->check(CLI::Range(1, 900))
      ->type_name("N");
  count("--max-body", options.max_body, "Size of a request at most")->type_name("MIB");
  count("--timeout", options.timeout, "For a request to come in, and for a client to read on")
      ->type_name("SECONDS");
  count("--drain", options.drain, "For requests to be finished after SIGTERM or Ctrl-C")
      ->type_name("SECONDS");
}

}  // namespace

void setup_serve(CLI::App& app) {
  auto options = std::make_shared<ServeOptions>();
  auto count = [&](const char* name, int& value, const char* help) {
    app.add_option(name, value, help)->check(no_negative_number())->type_name("N");
  };
  add_model_argument(app, *options);
  app.add_option("--alias", options->alias, "Name of the model (default: that of its file)");
  app.add_option("--chat-template", options->chat_template,
                 "A chat template (Jinja) in place of the model's own")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  count("--parallel", options->scheduler.parallel, "Requests carried out at once");
  count("--ctx-size", options->scheduler.context,
        "Tokens of prompt and answer together (default: the model's, at most 8192)");
  count("--queue", options->scheduler.queue, "Requests that may wait; more are answered 429");
  count("--max-tokens-default", options->max_tokens_default,
        "Where a request asks for none (default: 16 for completions, what fits for chats)");
  count("--step-tokens", options->scheduler.step_tokens,
        "Tokens of a step: smaller keeps streams smoother while long prompts are read");
  app.add_option("--prefix-cache", options->prefix_cache,
                 "Memory for beginnings of texts that later requests may share, 0 = off")
      ->check(no_negative_number())
      ->type_name("MIB");
  add_network_options(app, *options);
  add_dtype_option(app, *options);
  add_engine_threads_options(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
