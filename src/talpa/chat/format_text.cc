#include "talpa/chat/format_text.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "talpa/chat/operators.h"
#include "talpa/chat/text_builder.h"

namespace talpa::chat {

namespace {

class PercentFormat {
 public:
  PercentFormat(std::string_view format, const std::vector<Value>& values)
      : format_(format), values_(values) {}

  std::string run() {
    while (position_ < format_.size()) {
      const auto percent = std::min(format_.find('%', position_), format_.size());
      out_.add(format_.substr(position_, percent - position_));
      position_ = percent + 1;
      if (percent < format_.size()) conversion();
    }
    if (used_ < values_.size()) refuse("not all arguments converted during string formatting");
    return out_.take();
  }

 private:
  const Value& next_value() {
    if (used_ == values_.size()) refuse("not enough arguments for format string");
    return values_[used_++];
  }

  /// What stands behind a percent sign.
  void conversion() {
    int precision = 6;
    if (format_.substr(position_, 1) == ".") {
      precision = 0;
      for (++position_; position_ < format_.size() && std::isdigit(letter()) && precision < 100;
           ++position_)
        precision = precision * 10 + (letter() - '0');
    }
    const int c = position_ < format_.size() ? letter() : 0;
    ++position_;
    if (c == '%') return out_.add("%");
    if (c == 's') return out_.add(text_of(next_value()));
    if (c == 'r') return add_repr(out_, next_value());
    if (c != 'd' && c != 'i' && c != 'f') refuse("a conversion in a format is not supported");
    const Value& value = next_value();
    if (!value.is_number()) refuse("a number is required, not {}", value.type_name());
    if (c == 'f') return out_.add(fmt::format("{:.{}f}", value.number(), precision));
    out_.add(value.is_integral() ? fmt::format("{}", value.integer())
                                 : fmt::format("{:.0f}", std::trunc(value.number())));
  }

  int letter() const { return static_cast<unsigned char>(format_[position_]); }

  std::string_view format_;
  const std::vector<Value>& values_;
  std::size_t position_ = 0;
  std::size_t used_ = 0;
  TextBuilder out_;
};

}  // namespace

std::string format_text(const std::string& format, const Value& values) {
  if (values.is(Kind::kList) && values.list().tuple)
    return PercentFormat(format, values.list().items).run();
  const std::vector<Value> one = {values};
  return PercentFormat(format, one).run();
}

}  // namespace talpa::chat
