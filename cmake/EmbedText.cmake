# cmake -DINPUT=FILE -DOUTPUT=SOURCE -DNAME=NAME -P EmbedText.cmake: see talpa_embed.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <string_view>
namespace talpa::embedded {
namespace {
constexpr char bytes[] = {${bytes}};
}  // namespace
extern const std::string_view ${NAME};
const std::string_view ${NAME}(bytes, sizeof bytes);
}  // namespace talpa::embedded
")
