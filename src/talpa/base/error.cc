#include "talpa/base/error.h"

namespace talpa {

namespace {
struct Row {
  ErrorCode code;
  const char* name;
  int exit_status;
  int http_status;
};
constexpr Row kTable[] = {
    {ErrorCode::kUsage, "usage", 2, 400},
    {ErrorCode::kConfig, "config", 1, 400},
    {ErrorCode::kIo, "io", 1, 500},
    {ErrorCode::kFormat, "format", 1, 422},
    {ErrorCode::kShape, "shape", 1, 422},
    {ErrorCode::kUnsupported, "unsupported", 1, 422},
    {ErrorCode::kNotFound, "not_found", 1, 404},
    {ErrorCode::kInterrupted, "interrupted", 130, 503},
    {ErrorCode::kInternal, "internal", 1, 500},
};
const Row& row(ErrorCode code) {
  for (const Row& r : kTable)
    if (r.code == code) return r;
  return kTable[std::size(kTable) - 1];
}
}  // namespace

int exit_status(ErrorCode code) { return row(code).exit_status; }
int http_status(ErrorCode code) { return row(code).http_status; }
const char* name_of(ErrorCode code) { return row(code).name; }

}  // namespace talpa
