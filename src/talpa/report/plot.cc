#include "talpa/report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "talpa/report/html.h"
#include "talpa/report/table.h"

namespace talpa {

namespace {

constexpr int kFont = 13;
constexpr int kSeriesColours = 5;
constexpr const char* kFallback[kSeriesColours] = {"#2f6fb7", "#c4562b", "#2e8b57", "#8a56b0",
                                                   "#a8871c"};

constexpr const char* kPlainText = "fill=\"var(--ink, #1b1f24)\"";
constexpr const char* kMiddleText = "fill=\"var(--ink, #1b1f24)\" text-anchor=\"middle\"";
constexpr const char* kEndText = "fill=\"var(--ink, #1b1f24)\" text-anchor=\"end\"";
constexpr const char* kTitleText =
    "fill=\"var(--ink, #1b1f24)\" font-weight=\"600\" font-size=\"15\"";
constexpr const char* kMiddleTick = "fill=\"var(--muted, #5b6570)\" text-anchor=\"middle\"";
constexpr const char* kRightTick = "fill=\"var(--muted, #5b6570)\" text-anchor=\"end\"";

std::string series_colour(std::size_t index) {
  const std::size_t i = index % kSeriesColours;
  return fmt::format("var(--series-{}, {})", i + 1, kFallback[i]);
}

double text_width(const std::string& text, double size) {
  return 0.6 * size * static_cast<double>(display_width(text));
}

std::string text_at(double x, double y, const std::string& text, const char* style) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style,
                     escape_html(text));
}

bool is_drawable(const PlotPoint& point) {
  return std::isfinite(point.x) && std::isfinite(point.y);
}

/// A scale from data to drawing along one axis.
struct Axis {
  double low = 0, high = 1;
  double from = 0, to = 1;  ///< in the drawing
  std::vector<double> ticks;
  double step = 1;

  double operator()(double value) const {
    return from + (value - low) / (high - low) * (to - from);
  }
};

/// An axis a little wider than its data, with the round values that lie on it.
Axis make_axis(double low, double high, double from, double to, int wanted_ticks) {
  constexpr double kPadding = 0.06;
  if (!(high > low)) {
    const double pad = low != 0 ? std::abs(low) * 0.1 : 1;
    low -= pad;
    high += pad;
  }
  const double pad = kPadding * (high - low);
  Axis axis{.low = low == 0 ? 0 : low - pad, .high = high + pad, .from = from, .to = to};
  const std::vector<double> ticks = round_ticks(axis.low, axis.high, wanted_ticks);
  axis.step = ticks[1] - ticks[0];
  for (const double tick : ticks)
    if (tick >= axis.low - 1e-9 * axis.step && tick <= axis.high) axis.ticks.push_back(tick);
  return axis;
}

/// "2.00 MB" as "2 MB".
std::string without_zeros(const std::string& text) {
  const std::size_t point = text.find('.'), blank = std::min(text.find(' '), text.size());
  if (point == std::string::npos) return text;
  std::size_t end = blank;
  while (text[end - 1] == '0') --end;
  if (end - 1 == point) --end;
  return text.substr(0, end) + text.substr(blank);
}

std::string tick_text(double value, double step, AxisFormat format) {
  if (format == AxisFormat::kBytes) return without_zeros(format_bytes(value));
  if (format == AxisFormat::kCount) return without_zeros(format_count(value));
  if (value != 0 && (std::abs(value) >= 1e6 || step < 1e-4)) return fmt::format("{:.3g}", value);
  const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return fmt::format("{:.{}f}", std::abs(value) < step / 1e6 ? 0.0 : value, digits);
}

class Figure {
 public:
  Figure(const std::vector<PlotSeries>& series, const PlotOptions& options)
      : series_(series), options_(options) {
    double x_low = kHuge, x_high = -kHuge, y_low = options.y_from_zero ? 0 : kHuge, y_high = -kHuge;
    for (const PlotSeries& s : series)
      for (const PlotPoint& p : s.points) {
        if (!is_drawable(p)) continue;
        const double error = std::isfinite(p.error) ? p.error : 0;
        x_low = std::min(x_low, p.x);
        x_high = std::max(x_high, p.x);
        y_low = std::min(y_low, p.y - error);
        y_high = std::max(y_high, p.y + error);
      }
    if (x_low > x_high) x_low = y_low = 0, x_high = y_high = 1;
    x_ = make_axis(x_low, x_high, frame_.left, frame_.right, 8);
    y_ = make_axis(y_low, y_high, frame_.bottom, frame_.top, 6);
  }

  std::string svg() {
    std::string out = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" "
        "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, "
        "sans-serif\" font-size=\"{}\">\n<title>{}</title>\n",
        options_.width, options_.height, kFont, escape_html(options_.title));
    out += text_at(frame_.left, 20, options_.title, kTitleText);
    out += axes() + legend();
    for (std::size_t i = 0; i < series_.size(); ++i) out += draw_series(series_[i], i);
    return out + labels() + "</svg>\n";
  }

 private:
  static constexpr double kHuge = std::numeric_limits<double>::infinity();
  std::string axes() const {
    std::string out;
    for (const double tick : y_.ticks) {
      out += line(frame_.left, y_(tick), frame_.right, y_(tick), "var(--rule, #d9dee4)", 1);
      out += text_at(frame_.left - 8, y_(tick) + 4.5, tick_text(tick, y_.step, options_.y_format),
                     kRightTick);
    }
    for (const double tick : x_.ticks) {
      out += line(x_(tick), frame_.bottom, x_(tick), frame_.bottom + 5, "var(--muted, #5b6570)", 1);
      out += text_at(x_(tick), frame_.bottom + 21, tick_text(tick, x_.step, options_.x_format),
                     kMiddleTick);
    }
    out +=
        line(frame_.left, frame_.bottom, frame_.right, frame_.bottom, "var(--muted, #5b6570)", 1);
    out += text_at((frame_.left + frame_.right) / 2, options_.height - 10, options_.x_label,
                   kMiddleText);
    const double middle = (frame_.top + frame_.bottom) / 2;
    return out + fmt::format("<text transform=\"translate(18 {:.1f}) rotate(-90)\" {}>{}</text>\n",
                             middle, kMiddleText, escape_html(options_.y_label));
  }

  std::string legend() const {
    if (series_.size() < 2) return {};
    std::string out;
    double x = frame_.left;
    for (std::size_t i = 0; i < series_.size(); ++i) {
      out += marker(x + 5, 38, i);
      out += text_at(x + 16, 42.5, series_[i].name, kPlainText);
      x += 16 + text_width(series_[i].name, kFont) + 22;
    }
    return out;
  }

  std::string draw_series(const PlotSeries& series, std::size_t index) const {
    std::string out, path;
    for (const PlotPoint& p : series.points) {
      if (!is_drawable(p)) continue;
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x_(p.x), y_(p.y));
      if (p.error > 0 && std::isfinite(p.error))
        out +=
            line(x_(p.x), y_(p.y - p.error), x_(p.x), y_(p.y + p.error), series_colour(index), 1.5);
      if (series.markers) out += marker(x_(p.x), y_(p.y), index);
    }
    if (!series.connected) return out;
    return fmt::format(
               "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\" "
               "stroke-opacity=\"{}\"/>\n",
               path, series_colour(index), series.markers ? 0.5 : 1) +
           out;
  }

  std::string labels() const {
    std::vector<LabelRequest> requests;
    std::vector<const PlotPoint*> points;
    for (const PlotSeries& s : series_)
      for (const PlotPoint& p : s.points) {
        if (!is_drawable(p) || !s.markers) continue;
        requests.push_back({x_(p.x), y_(p.y), text_width(p.label, kFont), kFont + 2.0});
        points.push_back(&p);
      }
    const std::vector<Box> boxes = place_labels(requests, frame_, line_obstacles());
    std::string out;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      if (points[i]->label.empty()) continue;
      out += leader(requests[i], boxes[i]);
      out += label(requests[i], boxes[i], points[i]->label);
    }
    return out;
  }

  /// Error bars, and small squares along the lines of connected series.
  std::vector<Box> line_obstacles() const {
    constexpr double kSpacing = 4;
    std::vector<Box> boxes;
    for (const PlotSeries& s : series_) {
      for (const PlotPoint& p : s.points)
        if (is_drawable(p) && p.error > 0)
          boxes.push_back({x_(p.x) - 1, y_(p.y + p.error), x_(p.x) + 1, y_(p.y - p.error)});
      for (std::size_t i = 1; s.connected && i < s.points.size(); ++i) {
        const double x1 = x_(s.points[i - 1].x), y1 = y_(s.points[i - 1].y);
        const double dx = x_(s.points[i].x) - x1, dy = y_(s.points[i].y) - y1;
        const double steps = std::hypot(dx, dy) / kSpacing;
        for (double k = 0; k <= steps; ++k) {
          const double x = x1 + dx * k / steps, y = y1 + dy * k / steps;
          boxes.push_back({x - 2, y - 2, x + 2, y + 2});
        }
      }
    }
    return boxes;
  }

  /// Text that begins or ends beside its point wherever the reader's font puts the other end.
  static std::string label(const LabelRequest& point, const Box& box, const std::string& text) {
    const double y = box.bottom - 3.5;
    if (box.left >= point.x) return text_at(box.left, y, text, kPlainText);
    if (box.right <= point.x) return text_at(box.right, y, text, kEndText);
    return text_at((box.left + box.right) / 2, y, text, kMiddleText);
  }

  /// A thin line from a point to a label that stands far from it.
  static std::string leader(const LabelRequest& point, const Box& box) {
    const double x = std::clamp(point.x, box.left, box.right);
    const double y = std::clamp(point.y, box.top, box.bottom);
    const double distance = std::hypot(x - point.x, y - point.y);
    if (distance < 14) return {};
    const double skip = 6 / distance;
    return line(point.x + skip * (x - point.x), point.y + skip * (y - point.y), x, y,
                "var(--muted, #5b6570)", 0.8);
  }

  static std::string line(double x1, double y1, double x2, double y2, const std::string& colour,
                          double width) {
    return fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" "
        "stroke=\"{}\" stroke-width=\"{}\"/>\n",
        x1, y1, x2, y2, colour, width);
  }

  /// Series differ in shape as well as in colour.
  static std::string marker(double x, double y, std::size_t index) {
    const std::string fill = series_colour(index);
    switch (index % 3) {
      case 0:
        return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"{}\"/>\n", x, y,
                           fill);
      case 1:
        return fmt::format("<path d=\"M{:.1f} {:.1f}l6 6l-6 6l-6 -6z\" fill=\"{}\"/>\n", x, y - 6,
                           fill);
      default:
        return fmt::format(
            "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"9\" height=\"9\" fill=\"{}\"/>\n", x - 4.5,
            y - 4.5, fill);
    }
  }

  const std::vector<PlotSeries>& series_;
  const PlotOptions& options_;
  Box frame_{78, 62, static_cast<double>(options_.width) - 30,
             static_cast<double>(options_.height) - 62};
  Axis x_, y_;
};

}  // namespace

std::vector<double> round_ticks(double low, double high, int wanted) {
  if (!(high > low)) {
    const double pad = low != 0 ? std::abs(low) * 0.1 : 1;
    low -= pad;
    high += pad;
  }
  const double raw = (high - low) / std::max(1, wanted - 1);
  const double power = std::pow(10, std::floor(std::log10(raw)));
  const double share = raw / power;
  const double step = power * (share <= 1.0001   ? 1
                               : share <= 2.0001 ? 2
                               : share <= 5.0001 ? 5
                                                 : 10);
  const auto first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  std::vector<double> ticks;
  for (double i = first; i <= last; ++i) ticks.push_back(i * step);
  return ticks;
}

std::string plot_svg(const std::vector<PlotSeries>& series, const PlotOptions& options) {
  return Figure(series, options).svg();
}

}  // namespace talpa
