// Runs a fuzz target without libFuzzer: every seed of a corpus, and mutations of it that are the
// same every time. usage: replay_NAME CORPUS_DIRECTORY
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

#include "talpa/base/file.h"
#include "talpa/base/random.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr int kMutations = 150;

void run(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

std::string mutated(std::string bytes, talpa::Random& random) {
  const int edits = 1 + static_cast<int>(random.below(4));
  for (int i = 0; i < edits && !bytes.empty(); ++i) {
    const std::size_t at = random.below(bytes.size());
    switch (random.below(4)) {
      case 0:
        bytes[at] ^= static_cast<char>(1 << random.below(8));
        break;
      case 1:
        bytes[at] = static_cast<char>(random.below(256));
        break;
      case 2:
        bytes.erase(at, 1 + random.below(16));
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    const std::string bytes = talpa::read_text(entry.path());
    talpa::Random random(bytes.size(), "replay");
    run(bytes);
    for (int i = 0; i < kMutations; ++i) run(mutated(bytes, random));
    ++seeds;
  }
  std::printf("%d seeds, %d inputs\n", seeds, seeds * (kMutations + 1));
  return seeds > 0 ? 0 : 1;
}
