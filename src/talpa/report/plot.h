#pragma once

#include <string>
#include <vector>

namespace talpa {

/// A point with an optional vertical error and an optional label.
struct PlotPoint {
  double x = 0;
  double y = 0;
  double error = 0;
  std::string label;
};

struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;
  bool connected = false;  ///< a line through the points in their order
  bool markers = true;
};

enum class AxisFormat { kNumber, kBytes, kCount };

struct PlotOptions {
  std::string title;
  std::string x_label;
  std::string y_label;
  AxisFormat x_format = AxisFormat::kNumber;
  AxisFormat y_format = AxisFormat::kNumber;
  bool y_from_zero = false;
  int width = 1000;
  int height = 480;
};

/// A scatter or line plot as SVG. Colours are the page's variables with fallbacks, so that it
/// follows light and dark inside HtmlPage and stands alone outside of it. Points that are not
/// finite are left out.
std::string plot_svg(const std::vector<PlotSeries>& series, const PlotOptions& options);

/// Round values (1, 2 or 5 times a power of ten apart) that cover [low, high] in about `wanted`
/// steps; the first is <= low, the last >= high.
std::vector<double> round_ticks(double low, double high, int wanted = 6);

/// A rectangle of a drawing, in its units.
struct Box {
  double left, top, right, bottom;
};
double overlap_area(const Box& a, const Box& b);

/// Places a label of each size beside its anchor so that labels overlap neither one another nor
/// any anchor or obstacle, as far as there is room inside `frame`; in the order given.
struct LabelRequest {
  double x, y;           ///< anchor
  double width, height;  ///< of the text; 0 wide = nothing to place
};
std::vector<Box> place_labels(const std::vector<LabelRequest>& labels, const Box& frame,
                              const std::vector<Box>& obstacles = {});

}  // namespace talpa
