#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "talpa/report/plot.h"

namespace talpa {

namespace {

constexpr double kMarker = 6;  ///< half the side of the square that a marker occupies

Box box_at(const LabelRequest& label, double dx, double dy, double distance) {
  const double x = label.x + dx * distance + (dx - 1) / 2 * label.width;
  const double y = label.y + dy * distance + (dy - 1) / 2 * label.height;
  return {x, y, x + label.width, y + label.height};
}

double outside_area(const Box& box, const Box& frame) {
  const double area = (box.right - box.left) * (box.bottom - box.top);
  return area - overlap_area(box, frame);
}

double cost_of(const Box& box, const std::vector<LabelRequest>& labels,
               const std::vector<Box>& placed, const std::vector<Box>& obstacles) {
  double cost = 0;
  const Box roomy{box.left - 3, box.top - 1, box.right + 3, box.bottom + 1};
  for (const LabelRequest& other : labels)
    cost += 4 * overlap_area(roomy, {other.x - kMarker, other.y - kMarker, other.x + kMarker,
                                     other.y + kMarker});
  for (const Box& other : obstacles) cost += 3 * overlap_area(roomy, other);
  for (const Box& other : placed) cost += 10 * overlap_area(roomy, other);
  return cost;
}

}  // namespace

double overlap_area(const Box& a, const Box& b) {
  const double width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const double height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return width > 0 && height > 0 ? width * height : 0;
}

std::vector<Box> place_labels(const std::vector<LabelRequest>& labels, const Box& frame,
                              const std::vector<Box>& obstacles) {
  // Right, left, above, below, then the diagonals, ever farther away.
  constexpr std::array<std::array<double, 2>, 8> kDirections = {
      {{1, 0}, {-1, 0}, {0, -1}, {0, 1}, {1, -1}, {-1, -1}, {1, 1}, {-1, 1}}};
  constexpr std::array<double, 5> kDistances = {9, 16, 26, 40, 60};
  std::vector<Box> placed;
  for (const LabelRequest& label : labels) {
    Box best{label.x, label.y, label.x, label.y};
    double best_cost = std::numeric_limits<double>::infinity();
    for (std::size_t d = 0; d < kDistances.size() && label.width > 0; ++d)
      for (std::size_t k = 0; k < kDirections.size(); ++k) {
        const Box box = box_at(label, kDirections[k][0], kDirections[k][1], kDistances[d]);
        const double preference = static_cast<double>(8 * d + k);
        const double cost =
            cost_of(box, labels, placed, obstacles) + 20 * outside_area(box, frame) + preference;
        if (cost < best_cost) best_cost = cost, best = box;
      }
    placed.push_back(best);
  }
  return placed;
}

}  // namespace talpa
