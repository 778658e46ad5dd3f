#include "talpa/format/safetensors_writer.h"

#include "talpa/base/config.h"
#include "talpa/base/error.h"
#include "talpa/format/safetensors_header.h"

namespace talpa {

namespace {

using Entry = SafetensorsWriter::Entry;

std::vector<TensorSequence::Item> lay_out(const std::string& file,
                                          const std::vector<Entry>& entries) {
  std::vector<TensorSequence::Item> items;
  std::uint64_t begin = 0;
  for (const Entry& entry : entries) {
    if (entry.name == "__metadata__")
      fail(ErrorCode::kUsage, "{}: {} cannot be a tensor's name", file, entry.name);
    if (!safetensors_name(entry.dtype))
      fail(ErrorCode::kUnsupported, "{}: tensor {}: safetensors cannot hold {}; write a GGUF", file,
           entry.name, name_of(entry.dtype));
    const auto count = static_cast<std::uint64_t>(num_elements(entry.shape));
    const std::uint64_t bytes = bytes_of(entry.dtype, count);
    items.push_back({entry.name, begin, bytes});
    if (__builtin_add_overflow(begin, bytes, &begin))
      fail(ErrorCode::kUsage, "{}: the tensors take more bytes than 64 bits can count", file);
  }
  return items;
}

std::string header_of(const std::string& file, const std::vector<Entry>& entries,
                      const std::vector<TensorSequence::Item>& items,
                      std::map<std::string, std::string> metadata) {
  metadata.emplace("format", "pt");
  Json header = Json::object();
  header["__metadata__"] = metadata;
  for (std::size_t i = 0; i < entries.size(); ++i)
    header[entries[i].name] = {{"dtype", safetensors_name(entries[i].dtype)},
                               {"shape", entries[i].shape},
                               {"data_offsets", {items[i].begin, items[i].begin + items[i].bytes}}};
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::type_error&) {
    fail(ErrorCode::kUsage, "{}: a tensor name or metadata text is not UTF-8", file);
  }
  constexpr std::size_t kAlignment = 8;  // of the data, in the file
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  if (text.size() > kMaxSafetensorsHeader)
    fail(ErrorCode::kUsage, "{}: the header would take {} bytes, more than {}", file, text.size(),
         kMaxSafetensorsHeader);
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<Entry> entries,
                                     std::map<std::string, std::string> metadata)
    : file_(path), sequence_(path.string(), lay_out(path.string(), entries)) {
  const std::string header =
      header_of(path.string(), entries, sequence_.items(), std::move(metadata));
  std::string length(8, '\0');
  for (std::size_t i = 0; i < length.size(); ++i)
    length[i] = static_cast<char>(header.size() >> (8 * i));
  file_.write(length);
  file_.write(header);
}

void SafetensorsWriter::write(const std::string& name, std::span<const std::byte> bytes) {
  sequence_.advance(name, bytes.size());
  file_.write(bytes);
}

void SafetensorsWriter::finish() {
  sequence_.check_complete();
  file_.commit();
}

}  // namespace talpa
