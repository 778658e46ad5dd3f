#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "talpa/engine/encoder.h"
#include "talpa/serve/embeddings.h"
#include "talpa/serve/metrics.h"

namespace talpa::serve {

struct EncoderServiceOptions {
  std::string model_name;
  int context = 0;  ///< tokens of a text at most, 0 = what the encoder takes
  int queue = 256;  ///< requests that may wait
};

/// An encoder behind the endpoints. Requests take turns, a step of some texts each.
class EncoderService {
 public:
  /// The encoder outlives the service.
  EncoderService(const LoadedEncoder& loaded, EncoderServiceOptions options);

  /// Throws QueueFull, Draining, and ApiError (499) when the client went away.
  std::vector<std::vector<float>> embed(const std::vector<std::vector<TokenId>>& texts,
                                        const HttpRequest& http);
  /// Takes no more from now on; what was taken is finished.
  void drain();
  bool draining() const;
  /// Ends what was taken at its next turn.
  void stop();
  bool idle() const;
  SchedulerStats stats() const;

  const LoadedEncoder& loaded;
  const EncoderServiceOptions options;
  const std::int64_t created;  ///< seconds since 1970
  ServedText text;
  Metrics metrics;

 private:
  class Place;
  class Turn;

  mutable std::mutex mutex_;
  std::condition_variable next_;
  std::uint64_t turns_given_ = 0, turns_over_ = 0;
  bool draining_ = false, stopping_ = false;
  SchedulerStats stats_;
};

/// Every endpoint that an encoder can answer.
std::vector<Route> routes_of(EncoderService& service);

}  // namespace talpa::serve
