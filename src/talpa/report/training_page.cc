#include <algorithm>
#include <set>

#include "talpa/base/error.h"
#include "talpa/report/html.h"
#include "talpa/report/plot.h"
#include "talpa/report/training_run.h"

namespace talpa {

namespace {

using Curve = std::vector<std::pair<double, double>>;

/// As many points as a figure can show, each the mean of those that it stands for.
Curve thinned(const Curve& curve) {
  constexpr std::size_t kMost = 500;
  const std::size_t count = std::min(kMost, curve.size());
  Curve points;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t first = i * curve.size() / count, end = (i + 1) * curve.size() / count;
    double sum = 0;
    for (std::size_t j = first; j < end; ++j) sum += curve[j].second;
    points.emplace_back(curve[end - 1].first, sum / static_cast<double>(end - first));
  }
  return points;
}

PlotSeries series_of(const std::string& name, const Curve& curve) {
  PlotSeries series{.name = name, .points = {}, .connected = true, .markers = curve.size() < 15};
  for (const auto& [x, y] : thinned(curve)) series.points.push_back({x, y, 0, {}});
  return series;
}

/// Names, with the folder where several runs have one.
std::vector<std::string> labels_of(const std::vector<TrainingRun>& runs) {
  std::multiset<std::string> names;
  for (const TrainingRun& run : runs) names.insert(run.name);
  std::vector<std::string> labels;
  for (const TrainingRun& run : runs)
    labels.push_back(names.count(run.name) > 1 ? run.path.string() : run.name);
  return labels;
}

constexpr std::size_t kHeldOut = 1;  ///< of figures_of()

struct RunFigure {
  std::string title, unit, caption;
  std::vector<PlotSeries> series = {};

  void add(const std::string& name, const Curve& curve) {
    if (!curve.empty()) series.push_back(series_of(name, curve));
  }
};

/// Where training losses begin would leave no room for where they end.
void drop_start(RunFigure& figure) {
  constexpr double kShare = 0.02;
  for (PlotSeries& line : figure.series) {
    const double last = line.points.back().x;
    std::erase_if(line.points, [&](const PlotPoint& p) { return p.x < kShare * last; });
  }
}

std::vector<RunFigure> figures_of(const std::vector<TrainingRun>& runs) {
  std::vector<RunFigure> figures{
      {"Training loss", "nats a token",
       "Means over the steps between lines of the log, without balance and z-loss; the first 2 % "
       "of the steps are left out."},
      {"Held-out loss", "nats a token", "On the same held-out text each time."},
      {"Learning rate", "", "Of matrices, vectors and embeddings alike."},
      {"Gradient norm", "", "Global, before clipping."},
      {"Load of experts", "rows over the mean",
       "The most and the least loaded expert of any layer; 1 is even."},
      {"Speed", "tokens a second", "Without evaluations and checkpoints."}};
  const auto labels = labels_of(runs);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const TrainingRun& run = runs[i];
    figures[0].add(labels[i], run.curve(run.last("lm_loss") ? "lm_loss" : "loss"));
    figures[kHeldOut].add(labels[i], run.curve("valid_loss"));
    figures[kHeldOut].add(labels[i] + ", averaged weights", run.curve("valid_ema_loss"));
    figures[2].add(labels[i], run.curve("learning_rate"));
    figures[3].add(labels[i], run.curve("gradient_norm"));
    figures[4].add(labels[i] + ", most", run.load_curve("max_over_mean"));
    figures[4].add(labels[i] + ", least", run.load_curve("min_over_mean"));
    figures[5].add(labels[i], run.curve("tokens_per_second"));
  }
  drop_start(figures[0]);
  return figures;
}

std::string svg_of(const RunFigure& figure) {
  return plot_svg(figure.series, {.title = figure.title,
                                  .x_label = "step",
                                  .y_label = figure.unit,
                                  .x_format = AxisFormat::kCount});
}

}  // namespace

std::string runs_html(const std::vector<TrainingRun>& runs) {
  HtmlPage page("Training runs");
  page.add_markup(runs_table(runs).html());
  for (const RunFigure& figure : figures_of(runs))
    if (!figure.series.empty()) page.add_figure(svg_of(figure), figure.caption);
  return page.html();
}

std::string held_out_svg(const std::vector<TrainingRun>& runs) {
  const RunFigure figure = figures_of(runs)[kHeldOut];
  if (figure.series.empty()) fail(ErrorCode::kUsage, "no run has a held-out loss yet");
  return svg_of(figure) + "\n";
}

}  // namespace talpa
