#include "talpa/base/output_path.h"

#include <algorithm>

#include "talpa/base/error.h"

namespace talpa {

namespace fs = std::filesystem;

namespace {

fs::path resolved(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path).lexically_normal();
  fs::path whole = fs::weakly_canonical(absolute, error);
  if (error) whole = absolute;
  return whole.has_filename() ? whole : whole.parent_path();
}

}  // namespace

void check_not_input(const fs::path& output, const fs::path& input) {
  if (input.empty()) return;
  const fs::path out = resolved(output), in = resolved(input);
  std::error_code error;
  const bool holds = std::mismatch(out.begin(), out.end(), in.begin(), in.end()).first == out.end();
  if (holds || fs::equivalent(out, in, error))
    fail(ErrorCode::kUsage, "{} {} {}, which is read; name another output", output.string(),
         out == in ? "is" : "would replace", input.string());
}

}  // namespace talpa
