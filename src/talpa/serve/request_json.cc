#include "talpa/serve/request_json.h"

namespace talpa::serve {

namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxKeys = 1024;  ///< of an object: looking one up takes time in proportion

/// Throws when a value nests too deep or has too many keys, while it is read.
class Bounds {
 public:
  bool check(int depth, OrderedJson::parse_event_t event) {
    using Event = OrderedJson::parse_event_t;
    if (depth > kMaxDepth)
      throw ApiError(400, fmt::format("the body nests deeper than {} levels", kMaxDepth));
    if (event == Event::object_start) keys_.push_back(0);
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && ++keys_.back() > kMaxKeys)
      throw ApiError(400, fmt::format("the body has an object of more than {} keys", kMaxKeys));
    return true;
  }

 private:
  std::vector<int> keys_;
};

}  // namespace

OrderedJson parse_body(const std::string& body) {
  Bounds bounds;
  OrderedJson json;
  try {
    json = OrderedJson::parse(body, [&](int depth, OrderedJson::parse_event_t event, OrderedJson&) {
      return bounds.check(depth, event);
    });
  } catch (const OrderedJson::exception& error) {
    throw ApiError(400, fmt::format("the body is not JSON: {}", error.what()));
  }
  if (!json.is_object()) throw ApiError(400, "the body must be a JSON object");
  return json;
}

}  // namespace talpa::serve
